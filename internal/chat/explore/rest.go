package explore

import "errors"

// edge is a move that the system makes by itself.
type edge struct{ from, to int32 }

// restless looks for a state from which the system, left alone, can't bring the chat to rest.
func (g *walk) restless() fault {
	back := g.backwards()
	reached := append([]bool{}, g.rests...)
	var todo []int32
	for id, rests := range reached {
		if rests {
			todo = append(todo, int32(id))
		}
	}
	for len(todo) > 0 {
		id := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, from := range back.into(id) {
			if !reached[from] {
				reached[from] = true
				todo = append(todo, from)
			}
		}
	}
	for id, ok := range reached {
		if !ok {
			return fault{err: errors.New("I3: from here the chat never comes to rest, though nothing goes wrong any more"), at: int32(id)}
		}
	}
	return fault{}
}

// reverse lists the states before each state, all in one slice.
type reverse struct {
	first []int32
	from  []int32
}

func (r reverse) into(id int32) []int32 { return r.from[r.first[id]:r.first[id+1]] }

func (g *walk) backwards() reverse {
	r := reverse{make([]int32, len(g.came)+1), make([]int32, len(g.free))}
	for _, e := range g.free {
		r.first[e.to+1]++
	}
	for id := range g.came {
		r.first[id+1] += r.first[id]
	}
	place := append([]int32{}, r.first...)
	for _, e := range g.free {
		r.from[place[e.to]] = e.from
		place[e.to]++
	}
	return r
}
