package nodes

import (
	"context"
	"errors"
	"sync"
)

// defaultFanOut is how many nodes are worked on at once where nothing is said.
const defaultFanOut = 8

// Each calls f for every item, at most limit at once (0 is 8), and waits for
// all. One failure does not stop the others; once ctx has ended no more begin.
// The errors are joined in the order of the items, whichever ended first.
func Each[T any](ctx context.Context, items []T, limit int, f func(context.Context, T) error) error {
	if limit <= 0 {
		limit = defaultFanOut
	}
	errs := make([]error, len(items))
	turns := make(chan struct{}, limit)
	var all sync.WaitGroup
	for i, item := range items {
		select {
		case turns <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			errs[i] = context.Cause(ctx)
			break
		}
		all.Go(func() {
			defer func() { <-turns }()
			errs[i] = f(ctx, item)
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// DialAll dials every target through one Pool, at most limit at once (0 is 8).
// It returns one node a target, in their order, nil where it failed; the caller closes those
// that it got, also when there is an error.
func DialAll(ctx context.Context, targets []Target, limit int) ([]*Node, error) {
	list := make([]*Node, len(targets))
	index := make([]int, len(targets))
	for i := range index {
		index[i] = i
	}
	pool := NewPool()
	err := Each(ctx, index, limit, func(ctx context.Context, i int) error {
		n, err := pool.Dial(ctx, targets[i])
		list[i] = n
		return err
	})
	return list, err
}

// CloseAll closes every node that is not nil.
func CloseAll(list []*Node) error {
	return Each(context.Background(), list, len(list), func(_ context.Context, n *Node) error {
		if n == nil {
			return nil
		}
		return n.Close()
	})
}
