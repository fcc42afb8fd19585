package explore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"processor/internal/chat"
)

// Found is what a walk came to.
type Found struct {
	States, Transitions int
	// Depth is the longest of the paths by which states were met first.
	Depth int
	// Violation is the first one; nil when every state and every step is sound.
	Violation *Violation
}

// Violation is a broken invariant, and the moves that lead to it.
type Violation struct {
	Err  error
	Path []string
}

func (v *Violation) Error() string {
	var b strings.Builder
	for i, name := range v.Path {
		fmt.Fprintf(&b, "%3d. %s\n", i+1, name)
	}
	return b.String() + "     " + v.Err.Error()
}

// walk explores breadth first, but what takes one more trouble comes after all that takes less. So each state is met first with as many
// troubles left as possible, which is why they need not be part of it, and the first violation is one with the fewest troubles.
type walk struct {
	seen  map[key]int32
	came  []origin
	rests []bool
	free  []edge
	// now is to be visited at this level, later at the next one, and known has the keys of later.
	now, later []visit
	known      map[key]bool
	found      Found
}

// origin is the move by which a state was met first, by its place among the moves of the state before.
type origin struct {
	from        int32
	move, depth int16
}

// visit is a state to go on from.
type visit struct {
	*state
	key  key
	id   int32
	came origin
}

// Walk explores the world until all of it is known or a violation is found.
func (w World) Walk(ctx context.Context) (Found, error) {
	begin, err := w.begin(ctx)
	if err != nil {
		return Found{}, err
	}
	g := &walk{seen: map[key]int32{}, later: []visit{{begin, begin.key(), 0, origin{from: -1}}}}
	var bad fault
	for troubles := 0; troubles <= w.Troubles && bad.err == nil; troubles++ {
		if bad = g.level(troubles == w.Troubles); bad.err == nil {
			bad = g.restless()
		}
	}
	if bad.err != nil {
		g.found.Violation = &Violation{bad.err, begin.replay(g.path(bad.at), bad.move)}
	}
	g.found.States = len(g.came)
	return g.found, nil
}

// fault is an error in a state, or in a move from it if there is one.
type fault struct {
	err  error
	at   int32
	move string
}

// batch is how many states are expanded at a time. Expanding is done by all processors, numbering in order, so that every walk is the same.
const batch = 512

// level visits every state that this number of troubles can lead to.
func (g *walk) level(last bool) fault {
	fresh := g.later
	g.later, g.known = nil, map[key]bool{}
	for _, v := range fresh {
		g.meet(v)
	}
	for len(g.now) > 0 {
		visits := g.now[:min(batch, len(g.now))]
		g.now = g.now[len(visits):]
		for i, e := range expand(visits, last) {
			if e.fault.err != nil {
				return e.fault
			}
			g.merge(visits[i], e.next)
			visits[i].state = nil
		}
	}
	return fault{}
}

// meet numbers a state.
func (g *walk) meet(v visit) int32 {
	if id, ok := g.seen[v.key]; ok {
		return id
	}
	v.id = int32(len(g.came))
	g.seen[v.key] = v.id
	g.came = append(g.came, v.came)
	g.rests = append(g.rests, v.resting())
	g.now = append(g.now, v)
	g.found.Depth = max(g.found.Depth, int(v.came.depth))
	return v.id
}

// merge takes note of what follows a state.
func (g *walk) merge(from visit, next []successor) {
	for i, to := range next {
		g.found.Transitions++
		v := visit{to.state, to.key, 0, origin{from.id, int16(i), from.came.depth + 1}}
		switch _, seen := g.seen[v.key]; {
		case to.kind != trouble:
			id := g.meet(v)
			if to.kind == system {
				g.free = append(g.free, edge{from.id, id})
			}
		case !seen && !g.known[v.key]:
			g.known[v.key] = true
			g.later = append(g.later, v)
		}
	}
}

func (s *state) resting() bool {
	c := s.row()
	return c.Status == chat.Waiting || c.Status == chat.Parked
}

// path lists the moves that lead to a state, by their places.
func (g *walk) path(id int32) (moves []int16) {
	for o := g.came[id]; o.from >= 0; o = g.came[o.from] {
		moves = append([]int16{o.move}, moves...)
	}
	return moves
}

// replay names the moves of a path. The last one may be of a state that is not sound.
func (s *state) replay(path []int16, last string) (names []string) {
	for _, i := range path {
		m := s.moves(s.rows())[i]
		if m.kind == trouble {
			m.name += "  (trouble)"
		}
		names = append(names, m.name)
		t := s.next()
		if guarded(func() error { return errors.Join(m.do(t), t.tidy(t.rows())) }) != nil {
			break
		}
		s = t
	}
	if last != "" {
		names = append(names, last)
	}
	return names
}
