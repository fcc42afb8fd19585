package responses

import (
	"context"
	"math"
	"net/http"
	"slices"

	"processor/internal/chat"
)

// items lists a conversation's items. A page reads the turns that it shows and not the whole conversation, so that who reads all of it page by page reads
// it about once.
func (a *API) items(w http.ResponseWriter, r *http.Request) error {
	c, err := a.thread(r)
	if err != nil {
		return err
	}
	q, err := pageOf(r.URL.Query())
	if err != nil {
		return err
	}
	around, err := a.around(r.Context(), c, q)
	if is(err, chat.NotFound, "") {
		err = unknownConversation(r.PathValue("id"))
	}
	if err != nil {
		return err
	}
	return a.page(w, q, around)
}

// around reads items that follow one another, oldest first, among them the page's cursor and as many of those after it as the page may show and one more,
// if there are so many.
func (a *API) around(ctx context.Context, c chat.Chat, q query) ([]item, error) {
	turn := 0
	if q.after != "" {
		of, ok, err := a.turnOf(ctx, c.ID, q.after)
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, noItem(q.after)
		}
		turn = of
	}
	if q.oldest {
		return a.from(ctx, c.ID, turn, q)
	}
	if turn == 0 {
		return a.upTo(ctx, c.ID, c.Turn, math.MaxInt, q)
	}
	return a.upTo(ctx, c.ID, turn, turn, q)
}

// from reads from a turn on.
func (a *API) from(ctx context.Context, id chat.ID, turn int, q query) ([]item, error) {
	at, err := a.service.Before(ctx, chat.TurnRequest{Chat: id, Turn: turn})
	if err != nil {
		return nil, err
	}
	var messages []chat.Message
	for after := at.After; ; {
		snap, err := a.feed.Snapshot(ctx, chat.MessagesRequest{Chat: id, After: after, Limit: 2 * q.limit})
		if err != nil {
			return nil, err
		}
		messages = append(messages, snap.Messages...)
		all := itemsOf(id, messages)
		if snap.Next == 0 || q.filled(all) {
			return all, nil
		}
		after = snap.Next
	}
}

// upTo reads up to a turn, from as many turns before a newest one as it takes: a turn has an item or two, or is no more.
func (a *API) upTo(ctx context.Context, id chat.ID, newest, last int, q query) ([]item, error) {
	for turns := q.limit + 1; ; turns *= 2 {
		at, err := a.service.Before(ctx, chat.TurnRequest{Chat: id, Turn: max(newest-turns, 0)})
		if err != nil {
			return nil, err
		}
		messages, _, err := a.messages(ctx, id, at.After, last)
		if err != nil {
			return nil, err
		}
		if all := itemsOf(id, messages); at.After == 0 || q.filled(all) {
			return all, nil
		}
	}
}

// turnOf finds the turn of a conversation's item.
func (a *API) turnOf(ctx context.Context, id chat.ID, named string) (int, bool, error) {
	for _, r := range turnsOf(named) {
		if r.chat != id {
			continue
		}
		all, err := a.itemsIn(ctx, r)
		if err != nil {
			return 0, false, err
		}
		if slices.ContainsFunc(all, func(it item) bool { return it.ID == named }) {
			return r.turn, true, nil
		}
	}
	return 0, false, nil
}

func (a *API) item(w http.ResponseWriter, r *http.Request) error {
	it, err := a.chosen(r)
	if err != nil {
		return err
	}
	return a.kit.Write(w, http.StatusOK, it)
}

// removeItem refuses: what was committed is never changed, because watchers and later responses build on it.
func (a *API) removeItem(_ http.ResponseWriter, r *http.Request) error {
	it, err := a.chosen(r)
	if err != nil {
		return err
	}
	return refuse(http.StatusBadRequest, "unsupported_operation", "", "Item '"+it.ID+"' can't be deleted by itself. To go on without it, create a response whose "+
		"previous_response_id is the last response before it: it begins a conversation of its own with the history up to there. Deleting the conversation deletes all its items.")
}

// chosen is the item that the path names.
func (a *API) chosen(r *http.Request) (item, error) {
	c, err := a.thread(r)
	if err != nil {
		return item{}, err
	}
	for _, of := range turnsOf(r.PathValue("item")) {
		if of.chat != c.ID {
			continue
		}
		all, err := a.itemsIn(r.Context(), of)
		if err != nil {
			return item{}, err
		}
		for _, it := range all {
			if it.ID == r.PathValue("item") {
				return it, nil
			}
		}
	}
	return item{}, unknownItem(r.PathValue("item"))
}

// itemsOf are the items of turns, of the last of which there may be more to come.
func itemsOf(id chat.ID, messages []chat.Message) []item {
	all := []item{}
	for len(messages) > 0 {
		n := 1
		for n < len(messages) && messages[n].Turn == messages[0].Turn {
			n++
		}
		of := ref{id, messages[0].Turn}
		if len(messages[0].Parts) > 0 {
			all = append(all, of.saidItem(messages[0]))
		}
		all = append(all, of.outputOf(messages[:n])...)
		messages = messages[n:]
	}
	return all
}
