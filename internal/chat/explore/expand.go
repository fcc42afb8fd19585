package explore

import (
	"errors"
	"fmt"
	"runtime"
	"sync"

	"processor/internal/chat/chattest"
)

// successor is a state that one move leads to. Troubles come last among the moves of a state, so that leaving them out keeps the places of the others.
type successor struct {
	*state
	kind kind
	key  key
}

// expansion is what follows a state, or what is wrong with it.
type expansion struct {
	next  []successor
	fault fault
}

// expand expands states on all processors.
func expand(visits []visit, last bool) []expansion {
	all := make([]expansion, len(visits))
	var group sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		group.Go(func() {
			for i := w; i < len(visits); i += workers {
				all[i] = visits[i].expand(last)
			}
		})
	}
	group.Wait()
	return all
}

// expand checks a state and makes every move that it allows.
func (v visit) expand(last bool) (e expansion) {
	rows := v.rows()
	if err := guarded(func() error { return v.sound(rows) }); err != nil {
		return expansion{fault: fault{err: err, at: v.id}}
	}
	for _, m := range v.moves(rows) {
		if last && m.kind == trouble {
			continue
		}
		next, err := v.make(rows, m)
		if err != nil {
			return expansion{fault: fault{err, v.id, m.name}}
		}
		e.next = append(e.next, successor{next, m.kind, next.key()})
	}
	return e
}

// make makes a move in a state of its own, and checks what it did to the store.
func (s *state) make(before chattest.Rows, m move) (*state, error) {
	t := s.next()
	err := guarded(func() error { return m.do(t) })
	if err != nil || !t.mine {
		return t, err
	}
	after := t.rows()
	return t, errors.Join(stepped(before, after, m), t.tidy(after))
}

// guarded makes a violation of a panic: the store panics when a move is not in the table.
func guarded(do func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	return do()
}
