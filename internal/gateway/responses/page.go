package responses

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
)

// query is what a list's reader asks for: so many, from a cursor on, in an order.
type query struct {
	limit  int
	oldest bool // first
	after  string
}

func pageOf(v url.Values) (query, error) {
	q := query{limit: 20, after: v.Get("after")}
	if v := v.Get("limit"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > 100 {
			return query{}, invalid("limit", "limit must be 1 to 100")
		}
		q.limit = n
	}
	switch v.Get("order") {
	case "asc":
		q.oldest = true
	case "", "desc":
	default:
		return query{}, invalid("order", "order must be asc or desc")
	}
	return q, nil
}

// cut is what comes after the cursor of items that are oldest first, in the reader's order; false if the cursor is not among them.
func (q query) cut(all []item) ([]item, bool) {
	all = slices.Clone(all)
	if !q.oldest {
		slices.Reverse(all)
	}
	if q.after == "" {
		return all, true
	}
	i := slices.IndexFunc(all, func(it item) bool { return it.ID == q.after })
	return all[i+1:], i >= 0
}

// filled reports whether all has what the page shows, and one more.
func (q query) filled(all []item) bool {
	after, found := q.cut(all)
	return found && len(after) > q.limit
}

func noItem(id string) *failure { return invalid("after", "there is no item "+id) }

// list is a page of items.
type list struct {
	Object  string  `json:"object"`
	Data    []item  `json:"data"`
	FirstID *string `json:"first_id"`
	LastID  *string `json:"last_id"`
	HasMore bool    `json:"has_more"`
}

// page answers with a part of all, which are oldest first.
func (a *API) page(w http.ResponseWriter, q query, all []item) error {
	after, found := q.cut(all)
	if !found {
		return noItem(q.after)
	}
	return a.kit.Write(w, http.StatusOK, listOf(after, q.limit))
}

func listOf(all []item, limit int) list {
	page := list{Object: "list", Data: all, HasMore: len(all) > limit}
	if page.HasMore {
		page.Data = all[:limit]
	}
	if n := len(page.Data); n > 0 {
		page.FirstID, page.LastID = &page.Data[0].ID, &page.Data[n-1].ID
	} else {
		page.Data = []item{}
	}
	return page
}
