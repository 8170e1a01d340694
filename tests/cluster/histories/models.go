package main

import (
	"encoding/json"
	"fmt"
	"sort"
	"strings"

	"github.com/anishathalye/porcupine"
)

// Operation is one line of a history. A write whose outcome nobody knows (a timeout, a lost connection, an error that does
// not say that nothing was done) has the outcome "unknown" and no return: it may take effect at any time after its call, or
// never. Reads that failed are not in a history: they say nothing.
type Operation struct {
	Client  int     `json:"client"`
	Group   string  `json:"group"` // what is checked by itself: a key, or a handful of names
	Op      string  `json:"op"`
	Name    string  `json:"name,omitempty"` // of a collection or an alias
	To      string  `json:"to,omitempty"`   // rename: the new name; aliases: the collection
	Value   int64   `json:"value,omitempty"`
	Values  []int64 `json:"values,omitempty"` // read: the key's rows
	Outcome string  `json:"outcome"`
	Call    int64   `json:"call"`   // nanoseconds
	Return  int64   `json:"return"` // 0: never
	Through string  `json:"through,omitempty"`
	Said    string  `json:"said,omitempty"`
}

const unknown = "unknown"

// ---- a key's register: 0 is "no such row", and each upsert writes a value of its own

func stepRegister(state int64, o Operation) (bool, int64) {
	switch o.Op {
	case "upsert":
		return true, o.Value
	case "delete":
		return true, 0
	case "read":
		if len(o.Values) == 0 {
			return state == 0, state
		}
		return len(o.Values) == 1 && o.Values[0] == state && state != 0, state
	}
	return false, state
}

var registerModel = porcupine.Model{
	Init: func() any { return int64(0) },
	Step: func(state, input, output any) (bool, any) {
		return stepRegister(state.(int64), input.(Operation))
	},
	Equal:             func(a, b any) bool { return a == b },
	DescribeOperation: func(input, output any) string { return input.(Operation).String() },
	DescribeState:     func(state any) string { return fmt.Sprint(state) },
}

// ---- a handful of names: collections and aliases. A collection is known by its value: every creation has another one.

// Names is a state: what each name and each alias stands for. It is never changed in place.
type Names struct {
	Collections, Aliases map[string]int64
}

func (n Names) change(f func(n Names)) Names {
	out := Names{map[string]int64{}, map[string]int64{}}
	for name, value := range n.Collections {
		out.Collections[name] = value
	}
	for name, value := range n.Aliases {
		out.Aliases[name] = value
	}
	f(out)
	return out
}

func (n Names) String() string {
	var parts []string
	for name, value := range n.Collections {
		parts = append(parts, fmt.Sprintf("%s=%d", name, value))
	}
	for name, value := range n.Aliases {
		parts = append(parts, fmt.Sprintf("%s->%d", name, value))
	}
	sort.Strings(parts)
	return "{" + strings.Join(parts, " ") + "}"
}

// What a change would do: the reasons for which it may be refused, and the state after it if there is none.
func (n Names) attempt(o Operation) (refusals []string, after func(Names)) {
	_, collection := n.Collections[o.Name]
	alias, isAlias := n.Aliases[o.Name]
	target, hasTarget := n.Collections[o.To]
	_, toIsAlias := n.Aliases[o.To]
	refuse := func(when bool, outcome string) {
		if when {
			refusals = append(refusals, outcome)
		}
	}
	switch o.Op {
	case "create":
		refuse(collection || isAlias, "refused")
		return refusals, func(s Names) { s.Collections[o.Name] = o.Value }
	case "drop": // what isn't there may be dropped
		refuse(isAlias, "refused")
		return refusals, func(s Names) {
			if !collection {
				return
			}
			for name, value := range s.Aliases {
				if value == s.Collections[o.Name] {
					delete(s.Aliases, name)
				}
			}
			delete(s.Collections, o.Name)
		}
	case "rename":
		refuse(!collection && !isAlias, "no collection")
		refuse(isAlias || hasTarget || toIsAlias, "refused")
		return refusals, func(s Names) {
			s.Collections[o.To] = s.Collections[o.Name]
			delete(s.Collections, o.Name)
		}
	case "create alias":
		refuse(collection, "is a collection")
		refuse(!hasTarget, "no collection")
		refuse(isAlias && hasTarget && alias != target, "refused")
		return refusals, func(s Names) { s.Aliases[o.Name] = target }
	case "alter alias":
		refuse(collection, "is a collection")
		refuse(!hasTarget, "no collection")
		refuse(!collection && !isAlias, "no alias")
		return refusals, func(s Names) { s.Aliases[o.Name] = target }
	case "drop alias": // what isn't there may be dropped
		return nil, func(s Names) { delete(s.Aliases, o.Name) }
	}
	return []string{"there is no such operation"}, nil
}

func stepNames(state Names, o Operation) (bool, Names) {
	if o.Op == "describe" {
		value, found := state.Collections[o.Name]
		if !found {
			value, found = state.Aliases[o.Name]
		}
		if o.Outcome == "no collection" {
			return !found, state
		}
		return found && value == o.Value, state
	}
	refusals, after := state.attempt(o)
	switch o.Outcome {
	case "ok":
		if len(refusals) > 0 {
			return false, state
		}
		return true, state.change(after)
	case unknown:
		if len(refusals) > 0 {
			return true, state
		}
		return true, state.change(after)
	}
	for _, refusal := range refusals {
		if refusal == o.Outcome {
			return true, state
		}
	}
	return false, state
}

var catalogModel = porcupine.Model{
	Init: func() any { return Names{} },
	Step: func(state, input, output any) (bool, any) {
		return stepNames(state.(Names), input.(Operation))
	},
	Equal:             func(a, b any) bool { return a.(Names).String() == b.(Names).String() },
	DescribeOperation: func(input, output any) string { return input.(Operation).String() },
	DescribeState:     func(state any) string { return state.(Names).String() },
}

func (o Operation) String() string {
	what := o.Op
	if o.Name != "" {
		what += " " + o.Name
	}
	if o.To != "" {
		what += " " + o.To
	}
	if o.Value != 0 && o.Op != "describe" {
		what += fmt.Sprintf(" %d", o.Value)
	}
	switch {
	case o.Op == "read":
		what += fmt.Sprintf(" -> %v", o.Values)
	case o.Op == "describe" && o.Outcome == "ok":
		what += fmt.Sprintf(" -> %d", o.Value)
	default:
		what += " -> " + o.Outcome
	}
	return what
}

var models = map[string]porcupine.Model{"register": registerModel, "catalog": catalogModel}

// parse reads a history: a line that says which model it is of, then a line for each operation.
func parse(text []byte) (model string, operations []Operation, err error) {
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	var header struct {
		Model string `json:"model"`
	}
	if err := json.Unmarshal([]byte(lines[0]), &header); err != nil {
		return "", nil, fmt.Errorf("line 1: %w", err)
	}
	if _, known := models[header.Model]; !known {
		return "", nil, fmt.Errorf("line 1: there is no model %q", header.Model)
	}
	for n, line := range lines[1:] {
		var o Operation
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			return "", nil, fmt.Errorf("line %d: %w", n+2, err)
		}
		if o.Return != 0 && o.Return < o.Call || o.Return == 0 && o.Outcome != unknown {
			return "", nil, fmt.Errorf("line %d: %s was called at %d and answered at %d", n+2, o, o.Call, o.Return)
		}
		operations = append(operations, o)
	}
	return header.Model, operations, nil
}
