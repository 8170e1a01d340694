// Flat JSON objects as clients put them into parameters: {"M": 16, "efConstruction": 200}.
#pragma once

#include <string>
#include <string_view>

#include "model/types.h"

namespace saker {

// Its members in order, values as text (strings without quotes, numbers as written, nested ones as JSON). "" gives none.
Result<KeyValues> ParseFlatJson(std::string_view text);
// Numbers of an array: [0.7, 0.3].
Result<std::vector<double>> ParseNumbers(std::string_view text);

}  // namespace saker
