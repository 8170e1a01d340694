package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

type o = Operation

// done is an operation that was answered well.
func done(client int, call, ret int64, operation Operation) Operation {
	operation.Client, operation.Call, operation.Return = client, call, ret
	if operation.Outcome == "" {
		operation.Outcome = "ok"
	}
	operation.Group = "g"
	return operation
}

// open is one whose outcome nobody knows.
func open(client int, call int64, operation Operation) Operation {
	operation.Client, operation.Call, operation.Outcome, operation.Group = client, call, unknown, "g"
	return operation
}

func TestVerdicts(t *testing.T) {
	cases := []struct {
		name, model string
		want        porcupine.CheckResult
		history     []Operation
	}{
		{"a read sees the last write", "register", porcupine.Ok, []Operation{
			done(1, 1, 2, o{Op: "upsert", Value: 7}), done(2, 3, 4, o{Op: "read", Values: []int64{7}})}},
		{"a read that lost an acknowledged write", "register", porcupine.Illegal, []Operation{
			done(1, 1, 2, o{Op: "upsert", Value: 7}), done(2, 3, 4, o{Op: "read"})}},
		{"a stale read", "register", porcupine.Illegal, []Operation{
			done(1, 1, 2, o{Op: "upsert", Value: 7}), done(1, 3, 4, o{Op: "upsert", Value: 8}),
			done(2, 5, 6, o{Op: "read", Values: []int64{7}})}},
		{"a write on its way is seen or not", "register", porcupine.Ok, []Operation{
			done(1, 1, 10, o{Op: "upsert", Value: 7}), done(2, 2, 3, o{Op: "read"}),
			done(2, 4, 5, o{Op: "read", Values: []int64{7}})}},
		{"but not seen and then gone", "register", porcupine.Illegal, []Operation{
			done(1, 1, 10, o{Op: "upsert", Value: 7}), done(2, 2, 3, o{Op: "read", Values: []int64{7}}), done(2, 4, 5, o{Op: "read"})}},
		{"a delete that came back", "register", porcupine.Illegal, []Operation{
			done(1, 1, 2, o{Op: "upsert", Value: 7}), done(1, 3, 4, o{Op: "delete"}),
			done(2, 5, 6, o{Op: "read", Values: []int64{7}})}},
		{"two rows of one key", "register", porcupine.Illegal, []Operation{
			done(1, 1, 2, o{Op: "upsert", Value: 7}), open(1, 3, o{Op: "upsert", Value: 8}),
			done(2, 5, 6, o{Op: "read", Values: []int64{7, 8}})}},
		{"a write of unknown outcome that shows late", "register", porcupine.Ok, []Operation{
			open(1, 1, o{Op: "upsert", Value: 7}), done(2, 2, 3, o{Op: "read"}), done(2, 8, 9, o{Op: "read", Values: []int64{7}})}},
		{"a write of unknown outcome that shows never", "register", porcupine.Ok, []Operation{
			open(1, 1, o{Op: "delete"}), done(2, 2, 3, o{Op: "upsert", Value: 3}), done(2, 8, 9, o{Op: "read", Values: []int64{3}})}},
		{"a write of unknown outcome that shows twice", "register", porcupine.Illegal, []Operation{
			open(1, 1, o{Op: "upsert", Value: 7}), done(2, 2, 3, o{Op: "read", Values: []int64{7}}), done(2, 4, 5, o{Op: "delete"}),
			done(2, 6, 7, o{Op: "read", Values: []int64{7}})}},

		{"create, describe, rename, describe", "catalog", porcupine.Ok, []Operation{
			done(1, 1, 2, o{Op: "create", Name: "a", Value: 5}), done(2, 3, 4, o{Op: "describe", Name: "a", Value: 5}),
			done(1, 5, 6, o{Op: "rename", Name: "a", To: "b"}), done(2, 7, 8, o{Op: "describe", Name: "b", Value: 5}),
			done(2, 9, 10, o{Op: "describe", Name: "a", Outcome: "no collection"})}},
		{"a created collection that is not there", "catalog", porcupine.Illegal, []Operation{
			done(1, 1, 2, o{Op: "create", Name: "a", Value: 5}), done(2, 3, 4, o{Op: "describe", Name: "a", Outcome: "no collection"})}},
		{"a dropped collection that is still there", "catalog", porcupine.Illegal, []Operation{
			done(1, 1, 2, o{Op: "create", Name: "a", Value: 5}), done(1, 3, 4, o{Op: "drop", Name: "a"}),
			done(2, 5, 6, o{Op: "describe", Name: "a", Value: 5})}},
		{"two creations of one name", "catalog", porcupine.Illegal, []Operation{
			done(1, 1, 2, o{Op: "create", Name: "a", Value: 5}), done(2, 3, 4, o{Op: "create", Name: "a", Value: 6})}},
		{"an older collection under the name again", "catalog", porcupine.Illegal, []Operation{
			done(1, 1, 2, o{Op: "create", Name: "a", Value: 5}), done(1, 3, 4, o{Op: "drop", Name: "a"}),
			done(1, 5, 6, o{Op: "create", Name: "a", Value: 6}), done(2, 7, 8, o{Op: "describe", Name: "a", Value: 5})}},
		{"a refusal without a reason", "catalog", porcupine.Illegal, []Operation{
			done(1, 1, 2, o{Op: "create", Name: "a", Value: 5, Outcome: "refused"})}},
		{"an alias follows its collection's name", "catalog", porcupine.Ok, []Operation{
			done(1, 1, 2, o{Op: "create", Name: "a", Value: 5}), done(1, 3, 4, o{Op: "create alias", Name: "x", To: "a"}),
			done(1, 5, 6, o{Op: "rename", Name: "a", To: "b"}), done(2, 7, 8, o{Op: "describe", Name: "x", Value: 5}),
			done(1, 9, 10, o{Op: "drop", Name: "b"}), done(2, 11, 12, o{Op: "describe", Name: "x", Outcome: "no collection"})}},
		{"an alias that points back", "catalog", porcupine.Illegal, []Operation{
			done(1, 1, 2, o{Op: "create", Name: "a", Value: 5}), done(1, 3, 4, o{Op: "create", Name: "b", Value: 6}),
			done(1, 5, 6, o{Op: "create alias", Name: "x", To: "a"}), done(1, 7, 8, o{Op: "alter alias", Name: "x", To: "b"}),
			done(2, 9, 10, o{Op: "describe", Name: "x", Value: 5})}},
		{"an alias that was dropped and is there", "catalog", porcupine.Illegal, []Operation{
			done(1, 1, 2, o{Op: "create", Name: "a", Value: 5}), done(1, 3, 4, o{Op: "create alias", Name: "x", To: "a"}),
			done(1, 5, 6, o{Op: "drop alias", Name: "x"}), done(2, 7, 8, o{Op: "describe", Name: "x", Value: 5})}},
		{"a creation of unknown outcome", "catalog", porcupine.Ok, []Operation{
			open(1, 1, o{Op: "create", Name: "a", Value: 5}), done(2, 2, 3, o{Op: "describe", Name: "a", Outcome: "no collection"}),
			done(2, 4, 5, o{Op: "create", Name: "a", Value: 6, Outcome: "refused"}), done(2, 6, 7, o{Op: "describe", Name: "a", Value: 5})}},
	}
	for _, c := range cases {
		if got := verdict(models[c.model], c.history, time.Minute); got != c.want {
			t.Errorf("%s: %s, not %s", c.name, got, c.want)
		}
	}
}

// A violation in the middle of many operations: what is shown of it is small and still a violation.
func TestReducesAViolation(t *testing.T) {
	var history []Operation
	for i := int64(0); i < 100; i++ {
		history = append(history, done(1, 10*i+1, 10*i+2, o{Op: "upsert", Value: i + 1}))
		seen := i + 1
		if i == 50 {
			seen = i // stale
		}
		history = append(history, done(2, 10*i+3, 10*i+4, o{Op: "read", Values: []int64{seen}}))
	}
	smallest := reduce(registerModel, history, time.Minute)
	if verdict(registerModel, smallest, time.Minute) != porcupine.Illegal {
		t.Fatal("what is left is linearizable")
	}
	for _, left := range smallest {
		if left.Call > 510 {
			t.Errorf("%s came after the violation", left)
		}
		if left.Op == "read" && left.Values[0] != 50 {
			t.Errorf("%s has nothing to do with the violation", left)
		}
	}
}

func TestChecksFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	header := `{"model": "register", "seed": 1}` + "\n"
	written := `{"client": 1, "group": "k", "op": "upsert", "value": 3, "outcome": "ok", "call": 1, "return": 2}` + "\n"
	good := write("good.jsonl", header+written+`{"client": 2, "group": "k", "op": "read", "values": [3], "outcome": "ok", "call": 3, "return": 4}`)
	bad := write("bad.jsonl", header+written+`{"client": 2, "group": "k", "op": "read", "values": [], "outcome": "ok", "call": 3, "return": 4}`)
	if !check(good, time.Minute, dir) {
		t.Error("a good history is refused")
	}
	if check(bad, time.Minute, dir) {
		t.Error("a bad history is taken")
	}
	if _, err := os.Stat(filepath.Join(dir, "bad-k.html")); err != nil {
		t.Errorf("no picture: %v", err)
	}
	for _, text := range []string{`{"model": "none"}`, header + "{", header + `{"op": "read", "outcome": "ok", "call": 5, "return": 3}`,
		header + `{"op": "read", "outcome": "ok", "call": 5}`} {
		if check(write("wrong.jsonl", text), time.Minute, "") {
			t.Errorf("taken: %s", text)
		}
	}
}
