// A bound filter as a tree of conditions in negation normal form: `not` stands only at leaves, and a leaf knows the
// rows for which it (or its negation) is *true*. So unknown needs no bits of its own: a null row is true for neither.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "expr/filter.h"
#include "expr/value_test.h"

namespace saker {

class Node;
using NodePtr = std::shared_ptr<const Node>;

class Node {
 public:
  virtual ~Node() = default;
  // Clears the rows for which the condition is not true; looks only at rows that are set.
  virtual void Narrow(const FilterSource& source, Bitmap& rows) const = 0;
  virtual bool Matches(const FilterSource& source, int64_t row) const = 0;
  // Roughly nanoseconds a row: what `and` tries first.
  virtual int Cost(const FilterSource& source) const = 0;
  virtual NodePtr Negated() const = 0;
  virtual void AddFields(std::set<FieldId>& fields) const = 0;
  // The values that `field` has in every row that matches; may name more than there are.
  virtual std::optional<std::vector<Value>> LimitedTo(FieldId field) const = 0;
  // True if LimitedTo(field) says all there is to say.
  virtual bool IsLimitOnly(FieldId field) const { return false; }
};

NodePtr Always(bool value);
NodePtr AllOf(std::vector<NodePtr> nodes);
NodePtr AnyOf(std::vector<NodePtr> nodes);

// A numeric, bool or string column, after arithmetic if there is any.
NodePtr TestColumn(const FieldSchema& field, std::vector<ArithmeticStep> steps, ValueTestPtr test);
NodePtr CompareColumns(const FieldSchema& left, Operator op, const FieldSchema& right);
NodePtr TestNull(const FieldSchema& field);

// Arrays. A row too short for the index passes only if `missing_passes`; negation turns both around.
NodePtr TestElement(const FieldSchema& field, int64_t index, std::vector<ArithmeticStep> steps, ValueTestPtr test,
                    bool missing_passes);
NodePtr TestArrayLength(const FieldSchema& field, std::vector<ArithmeticStep> steps, ValueTestPtr test);
NodePtr TestArrayContains(const FieldSchema& field, bool all, std::vector<Constant> wanted);
NodePtr TestArrayEquals(const FieldSchema& field, std::vector<Constant> wanted);

// JSON documents. What is missing or of another type fails the test, and passes its negation.
NodePtr TestJson(const FieldSchema& field, std::vector<PathStep> path, std::vector<ArithmeticStep> steps,
                 ValueTestPtr test);
NodePtr TestJsonExists(const FieldSchema& field, std::vector<PathStep> path);
NodePtr TestJsonNull(const FieldSchema& field, std::vector<PathStep> path);
NodePtr TestJsonLength(const FieldSchema& field, std::vector<PathStep> path, std::vector<ArithmeticStep> steps,
                       ValueTestPtr test);
NodePtr TestJsonContains(const FieldSchema& field, std::vector<PathStep> path, bool all, std::vector<Constant> wanted);
NodePtr TestJsonEquals(const FieldSchema& field, std::vector<PathStep> path, Constant wanted);

}  // namespace saker
