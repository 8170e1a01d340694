// The everyday story with Milvus's Go SDK: clienttest HOST:PORT [IDLE_SECONDS]
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/milvus-io/milvus/client/v2/column"
	"github.com/milvus-io/milvus/client/v2/entity"
	"github.com/milvus-io/milvus/client/v2/index"
	"github.com/milvus-io/milvus/client/v2/milvusclient"
)

var passed, failed int

func step(what string, run func() error) bool {
	if err := run(); err != nil {
		failed++
		fmt.Printf("FAIL %s: %v\n", what, err)
		return false
	}
	passed++
	fmt.Printf("ok   %s\n", what)
	return true
}

func want(ok bool, format string, arguments ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf(format, arguments...)
}

func columns(from, n int64) (ids []int64, titles []string, numbers []int32, vectors [][]float32) {
	for i := from; i < from+n; i++ {
		ids = append(ids, i)
		titles = append(titles, fmt.Sprintf("title %d", i))
		numbers = append(numbers, int32(i%10))
		vectors = append(vectors, []float32{float32(i), 1, 0, 0})
	}
	return
}

func main() {
	address, idle := "127.0.0.1:19530", 60
	if len(os.Args) > 1 {
		address = os.Args[1]
	}
	if len(os.Args) > 2 {
		idle, _ = strconv.Atoi(os.Args[2])
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(idle+180)*time.Second)
	defer cancel()
	name := fmt.Sprintf("go_%d", os.Getpid())
	var c *milvusclient.Client
	if !step("connect", func() (err error) {
		c, err = milvusclient.New(ctx, &milvusclient.ClientConfig{Address: address})
		return
	}) {
		fmt.Printf("%d passed, %d failed\n", passed, failed)
		os.Exit(1)
	}
	step("version", func() error {
		v, err := c.GetServerVersion(ctx, milvusclient.NewGetServerVersionOption())
		if err != nil {
			return err
		}
		return want(v != "", "empty version")
	})
	step("create", func() error {
		schema := entity.NewSchema().WithName(name).
			WithField(entity.NewField().WithName("id").WithDataType(entity.FieldTypeInt64).WithIsPrimaryKey(true)).
			WithField(entity.NewField().WithName("title").WithDataType(entity.FieldTypeVarChar).WithMaxLength(100)).
			WithField(entity.NewField().WithName("n").WithDataType(entity.FieldTypeInt32)).
			WithField(entity.NewField().WithName("v").WithDataType(entity.FieldTypeFloatVector).WithDim(4))
		return c.CreateCollection(ctx, milvusclient.NewCreateCollectionOption(name, schema).WithConsistencyLevel(entity.ClStrong))
	})
	step("has, list and describe", func() error {
		has, err := c.HasCollection(ctx, milvusclient.NewHasCollectionOption(name))
		if err != nil || !has {
			return fmt.Errorf("has: %v %w", has, err)
		}
		has, err = c.HasCollection(ctx, milvusclient.NewHasCollectionOption("nothing_here"))
		if err != nil || has {
			return fmt.Errorf("has what is not there: %v %w", has, err)
		}
		list, err := c.ListCollections(ctx, milvusclient.NewListCollectionOption())
		if err != nil || !strings.Contains(strings.Join(list, ","), name) {
			return fmt.Errorf("list: %v %w", list, err)
		}
		d, err := c.DescribeCollection(ctx, milvusclient.NewDescribeCollectionOption(name))
		if err != nil {
			return err
		}
		return want(len(d.Schema.Fields) == 4 && d.Schema.PKFieldName() == "id", "schema %v", d.Schema)
	})
	step("insert", func() error {
		ids, titles, numbers, vectors := columns(0, 100)
		r, err := c.Insert(ctx, milvusclient.NewColumnBasedInsertOption(name).WithInt64Column("id", ids).
			WithVarcharColumn("title", titles).WithInt32Column("n", numbers).WithFloatVectorColumn("v", 4, vectors))
		if err != nil {
			return err
		}
		return want(r.InsertCount == 100, "insert count %d", r.InsertCount)
	})
	step("index", func() error {
		task, err := c.CreateIndex(ctx, milvusclient.NewCreateIndexOption(name, "v", index.NewHNSWIndex(entity.L2, 8, 64)))
		if err != nil {
			return err
		}
		if err = task.Await(ctx); err != nil {
			return err
		}
		names, err := c.ListIndexes(ctx, milvusclient.NewListIndexOption(name))
		if err != nil {
			return err
		}
		return want(len(names) == 1, "indexes %v", names)
	})
	step("load", func() error {
		task, err := c.LoadCollection(ctx, milvusclient.NewLoadCollectionOption(name))
		if err != nil {
			return err
		}
		if err = task.Await(ctx); err != nil {
			return err
		}
		state, err := c.GetLoadState(ctx, milvusclient.NewGetLoadStateOption(name))
		if err != nil {
			return err
		}
		return want(state.State == entity.LoadStateLoaded, "state %v", state)
	})
	search := func(x float32, filter string) ([]int64, error) {
		option := milvusclient.NewSearchOption(name, 3, []entity.Vector{entity.FloatVector([]float32{x, 1, 0, 0})}).
			WithANNSField("v").WithOutputFields("title", "n").WithConsistencyLevel(entity.ClStrong)
		if filter != "" {
			option = option.WithFilter(filter)
		}
		sets, err := c.Search(ctx, option)
		if err != nil {
			return nil, err
		}
		if len(sets) != 1 {
			return nil, fmt.Errorf("%d result sets", len(sets))
		}
		return sets[0].IDs.(*column.ColumnInt64).Data(), nil
	}
	step("search", func() error {
		ids, err := search(42, "")
		if err != nil {
			return err
		}
		return want(len(ids) == 3 && ids[0] == 42, "ids %v", ids)
	})
	step("search with a filter", func() error {
		ids, err := search(42, "n == 3")
		if err != nil {
			return err
		}
		return want(len(ids) == 3 && ids[0] == 43, "ids %v", ids)
	})
	query := func(filter string) ([]int64, error) {
		set, err := c.Query(ctx, milvusclient.NewQueryOption(name).WithFilter(filter).WithOutputFields("id", "title", "v").
			WithConsistencyLevel(entity.ClStrong))
		if err != nil {
			return nil, err
		}
		return set.GetColumn("id").(*column.ColumnInt64).Data(), nil
	}
	step("query", func() error {
		ids, err := query("id in [1, 2, 3]")
		if err != nil {
			return err
		}
		return want(len(ids) == 3, "ids %v", ids)
	})
	step("upsert", func() error {
		ids, _, numbers, vectors := columns(5, 1)
		_, err := c.Upsert(ctx, milvusclient.NewColumnBasedInsertOption(name).WithInt64Column("id", ids).
			WithVarcharColumn("title", []string{"changed"}).WithInt32Column("n", numbers).WithFloatVectorColumn("v", 4, vectors))
		if err != nil {
			return err
		}
		found, err := query(`title == "changed"`)
		if err != nil {
			return err
		}
		return want(len(found) == 1 && found[0] == 5, "ids %v", found)
	})
	step("delete", func() error {
		if _, err := c.Delete(ctx, milvusclient.NewDeleteOption(name).WithInt64IDs("id", []int64{1, 2})); err != nil {
			return err
		}
		ids, err := query("id < 4")
		if err != nil {
			return err
		}
		return want(len(ids) == 2, "ids %v", ids)
	})
	step("flush", func() error {
		task, err := c.Flush(ctx, milvusclient.NewFlushOption(name))
		if err != nil {
			return err
		}
		return task.Await(ctx)
	})
	step("partition and alias", func() error {
		if err := c.CreatePartition(ctx, milvusclient.NewCreatePartitionOption(name, "p")); err != nil {
			return err
		}
		if err := c.CreateAlias(ctx, milvusclient.NewCreateAliasOption(name, name+"_a")); err != nil {
			return err
		}
		return c.DropAlias(ctx, milvusclient.NewDropAliasOption(name+"_a"))
	})
	step(fmt.Sprintf("idle for %d s, then search", idle), func() error {
		time.Sleep(time.Duration(idle) * time.Second)
		ids, err := search(60, "")
		if err != nil {
			return err
		}
		return want(len(ids) == 3 && ids[0] == 60, "ids %v", ids)
	})
	step("error after release", func() error {
		if err := c.ReleaseCollection(ctx, milvusclient.NewReleaseCollectionOption(name)); err != nil {
			return err
		}
		_, err := search(1, "")
		return want(err != nil && strings.Contains(err.Error(), "not loaded"), "error %v", err)
	})
	step("drop", func() error {
		if err := c.DropCollection(ctx, milvusclient.NewDropCollectionOption(name)); err != nil {
			return err
		}
		has, err := c.HasCollection(ctx, milvusclient.NewHasCollectionOption(name))
		if err != nil {
			return err
		}
		return want(!has, "still there")
	})
	c.Close(ctx)
	fmt.Printf("%d passed, %d failed\n", passed, failed)
	if failed > 0 {
		os.Exit(1)
	}
}
