package gateway

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"processor/internal/chat"
)

// query reads the parameters of an address as strictly as a body: one that nobody asked for is refused, and so is one given twice.
type query struct {
	values url.Values
	bad    error
}

func queryOf(r *http.Request) *query {
	values, err := url.ParseQuery(r.URL.RawQuery)
	q := &query{values: values}
	if err != nil {
		q.refuse(chat.Errorf(chat.Malformed, "", "the address has parameters that can't be read"))
	}
	return q
}

func (q *query) refuse(err error) {
	if q.bad == nil {
		q.bad = err
	}
}

// text takes a parameter, empty if it is missing.
func (q *query) text(name string) string {
	all := q.values[name]
	delete(q.values, name)
	switch len(all) {
	case 0:
		return ""
	case 1:
		return all[0]
	default:
		q.refuse(chat.Errorf(chat.Malformed, name, "%s is given more than once", name))
		return ""
	}
}

// number takes a parameter that is a number, zero if it is missing.
func (q *query) number(name string) int64 {
	text := q.text(name)
	if text == "" {
		return 0
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		q.refuse(chat.Errorf(chat.Malformed, name, "%s must be a number", name))
	}
	return n
}

func (q *query) limit() int { return int(max(-1, min(q.number("limit"), 1<<20))) }

// err is what is wrong with the parameters, those included that nobody took.
func (q *query) err() error {
	if q.bad == nil && len(q.values) > 0 {
		q.bad = chat.Errorf(chat.Malformed, "", "there is no parameter %q here", slices.Sorted(maps.Keys(q.values))[0])
	}
	return q.bad
}
