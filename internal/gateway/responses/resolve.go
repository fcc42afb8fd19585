package responses

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"processor/internal/chat"
)

// resolve looks up the items that lines name, so that clients may send the ids of what they were told instead of the words. The items are those of this
// server, of the caller's tenant, whichever conversation they are of.
func (a *API) resolve(ctx context.Context, lines []line) (input, error) {
	known, count := map[ref][]item{}, 0
	for i, l := range lines {
		if l.named == "" {
			continue
		}
		if count++; count > chat.MaxExchanges {
			return input{}, chat.Errorf(chat.TooLarge, "input", "more than %d items are named", chat.MaxExchanges)
		}
		it, err := a.look(ctx, known, l.named)
		if err != nil {
			return input{}, err
		}
		if lines[i], err = it.line(l.at); err != nil {
			return input{}, err
		}
	}
	return inputOf(lines), nil
}

// look finds an item. Known are the items of turns that were read before.
func (a *API) look(ctx context.Context, known map[ref][]item, id string) (item, error) {
	for _, r := range turnsOf(id) {
		all, ok := known[r]
		if !ok {
			var err error
			if all, err = a.itemsIn(ctx, r); err != nil {
				return item{}, err
			}
			known[r] = all
		}
		if i := slices.IndexFunc(all, func(it item) bool { return it.ID == id }); i >= 0 {
			return all[i], nil
		}
	}
	return item{}, unknownItem(id)
}

// turnsOf are the turns that may have the item. A chat's id may look as if it ended with a turn.
func turnsOf(id string) (all []ref) {
	parts := strings.Split(id, "_")
	for last := len(parts) - 1; last >= max(2, len(parts)-2); last-- {
		turn, err := strconv.ParseInt(parts[last], 10, 32)
		of := strings.Join(parts[1:last], "_")
		if r, ok := refOf((ref{chat.ID(of), int(turn)}).String()); err == nil && ok {
			all = append(all, r)
		}
	}
	return all
}

// itemsIn are the items of a turn; of one that there is not, none.
func (a *API) itemsIn(ctx context.Context, r ref) ([]item, error) {
	at, err := a.service.Before(ctx, chat.TurnRequest{Chat: r.chat, Turn: r.turn})
	if err == nil {
		var messages []chat.Message
		if messages, _, err = a.messages(ctx, r.chat, at.After, r.turn); err == nil {
			return itemsOf(r.chat, messages), nil
		}
	}
	if is(err, chat.NotFound, "") {
		return nil, nil
	}
	return nil, err
}

// line is what the item says, as an input has it.
func (it item) line(at string) (line, error) {
	l := line{role: it.Role, at: at}
	switch it.Type {
	case "message":
	case "reasoning":
		return l, nil // it has no role
	default:
		return l, unsupported(at)
	}
	for _, p := range *it.Content {
		l.parts = append(l.parts, chat.Part{Type: chat.TextPart, Text: p.Text})
	}
	return l, nil
}
