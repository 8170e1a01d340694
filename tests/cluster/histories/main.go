// Says whether histories of a cluster are linearizable, with porcupine: that every operation can be thought to have
// happened at one moment between its call and its answer, in an order that the model allows.
//
//	histories [-timeout SECONDS] [-pictures DIR] FILE ...
//
// For each file that is not: the smallest beginning of the history of that key or those names that is not linearizable, and
// a picture of it in DIR. Exits with 1 if one is not linearizable or could not be decided in time.
package main

import (
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// Porcupine's operations. One that has not returned by the end of the history may take effect up to its end.
func convert(operations []Operation) []porcupine.Operation {
	var out []porcupine.Operation
	for _, o := range operations {
		end := o.Return
		if end == 0 {
			end = math.MaxInt64
		}
		out = append(out, porcupine.Operation{ClientId: o.Client, Input: o, Call: o.Call, Output: nil, Return: end})
	}
	return out
}

func verdict(model porcupine.Model, operations []Operation, timeout time.Duration) porcupine.CheckResult {
	return porcupine.CheckOperationsTimeout(model, convert(operations), timeout)
}

// What had been called when the first n operations had been answered; those on their way then are of unknown outcome.
func beginning(operations []Operation, n int) []Operation {
	answered := append([]Operation(nil), operations...)
	sort.SliceStable(answered, func(i, j int) bool { return ended(answered[i]) < ended(answered[j]) })
	end := ended(answered[n-1])
	out := append([]Operation(nil), answered[:n]...)
	for _, o := range answered[n:] {
		if o.Call < end && !changesNothing(o) {
			o.Return, o.Outcome = 0, unknown
			out = append(out, o)
		}
	}
	return out
}

// Without such an operation a history is as good as it was, or better.
func changesNothing(o Operation) bool {
	return o.Op == "read" || o.Op == "describe" || o.Outcome != "ok" && o.Outcome != unknown
}

func ended(o Operation) int64 {
	if o.Return == 0 {
		return math.MaxInt64
	}
	return o.Return
}

// The smallest beginning that is not linearizable, without what it doesn't take.
func reduce(model porcupine.Model, operations []Operation, timeout time.Duration) []Operation {
	n := sort.Search(len(operations), func(n int) bool {
		return n > 0 && verdict(model, beginning(operations, n), timeout) == porcupine.Illegal
	})
	if n == len(operations) {
		return operations
	}
	kept := beginning(operations, n)
	for i := len(kept) - 1; i >= 0; i-- {
		if changesNothing(kept[i]) || kept[i].Outcome == unknown {
			without := append(append([]Operation(nil), kept[:i]...), kept[i+1:]...)
			if verdict(model, without, timeout) == porcupine.Illegal {
				kept = without
			}
		}
	}
	sort.SliceStable(kept, func(i, j int) bool { return kept[i].Call < kept[j].Call })
	return kept
}

func show(operations []Operation, begun int64) {
	for _, o := range operations {
		end := "never answered"
		if o.Return != 0 {
			end = fmt.Sprintf("%.6f s", float64(o.Return-begun)/1e9)
		}
		fmt.Printf("      %.6f s … %s  client %d by %s  %s  %s\n", float64(o.Call-begun)/1e9, end, o.Client, o.Through, o, o.Said)
	}
}

func check(file string, timeout time.Duration, pictures string) bool {
	text, err := os.ReadFile(file)
	if err != nil {
		fmt.Println(err)
		return false
	}
	name, operations, err := parse(text)
	if err != nil {
		fmt.Printf("%s: %v\n", file, err)
		return false
	}
	model := models[name]
	groups := map[string][]Operation{}
	begun, open := int64(math.MaxInt64), 0
	for _, o := range operations {
		groups[o.Group] = append(groups[o.Group], o)
		begun = min(begun, o.Call)
		if o.Return == 0 {
			open++
		}
	}
	keys := make([]string, 0, len(groups))
	for key := range groups {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	deadline := time.Now().Add(timeout)
	well := true
	for _, key := range keys {
		left := max(min(time.Until(deadline), timeout/4), time.Second) // one group may not take the others' time
		switch verdict(model, groups[key], left) {
		case porcupine.Ok:
			continue
		case porcupine.Unknown:
			fmt.Printf("   %s: not decided within %s\n", key, left.Round(time.Second))
		case porcupine.Illegal:
			smallest := reduce(model, groups[key], 10*time.Second)
			fmt.Printf("   %s is NOT linearizable; %d operations show it:\n", key, len(smallest))
			show(smallest, begun)
			if pictures != "" {
				path := filepath.Join(pictures, strings.TrimSuffix(filepath.Base(file), ".jsonl")+"-"+key+".html")
				_, info := porcupine.CheckOperationsVerbose(model, convert(smallest), 10*time.Second)
				if err := porcupine.VisualizePath(model, info, path); err == nil {
					fmt.Printf("      %s\n", path)
				}
			}
		}
		well = false
	}
	word := "linearizable"
	if !well {
		word = "NOT LINEARIZABLE, or not decided"
	}
	fmt.Printf("%s: %s, %d operations on %d groups, %d of unknown outcome: %s\n", file, name, len(operations), len(groups), open, word)
	return well
}

func main() {
	timeout := flag.Float64("timeout", 120, "seconds for each file")
	pictures := flag.String("pictures", "", "folder for pictures of what is not linearizable")
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	passed := 0
	for _, file := range flag.Args() {
		if check(file, time.Duration(*timeout*float64(time.Second)), *pictures) {
			passed++
		}
	}
	fmt.Printf("%d passed, %d failed\n", passed, flag.NArg()-passed)
	if passed != flag.NArg() {
		os.Exit(1)
	}
}
