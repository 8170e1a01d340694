// The store recipes_test.cc runs over: defined once in each program that it is part of.
#pragma once

#include <memory>
#include <string>

#include "meta/meta_store.h"

namespace saker {

// An empty store; null if its server isn't installed. `directory` is there for it and removed afterwards.
std::unique_ptr<MetaStore> OpenStoreForRecipes(const std::string& directory);

}  // namespace saker
