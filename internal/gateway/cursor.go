package gateway

import (
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"processor/internal/chat"
)

// cursor names a place in a transcript (I10): the chat's number, since another chat may have its id later, the turn, and the place in the turn.
type cursor struct {
	number chat.Number
	turn   int
	chat.Mark
}

func (c cursor) String() string {
	return fmt.Sprintf("%d-%d-%d-%d", c.number, c.turn, c.Attempt, c.Place)
}

// cursorPattern has no number that doesn't fit an int64.
var cursorPattern = regexp.MustCompile(`^\d{1,18}-\d{1,9}-\d{1,12}-\d{1,6}$`)

func parseCursor(text string) (cursor, error) {
	if !cursorPattern.MatchString(text) {
		return cursor{}, chat.Errorf(chat.Invalid, "last_event_id", "the last event's id must be one that a stream of this chat gave")
	}
	var numbers [4]int64
	for i, digits := range strings.Split(text, "-") {
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil {
			return cursor{}, err
		}
		numbers[i] = n
	}
	return cursor{chat.Number(numbers[0]), int(numbers[1]), chat.Mark{Attempt: numbers[2], Place: numbers[3]}}, nil
}

// cursorOf reads where a client wants to go on; nil is from the beginning. A browser that comes back by itself sends the header, and the address with
// which it began.
func cursorOf(r *http.Request) (*cursor, error) {
	q := queryOf(r)
	text := q.text("last_event_id")
	if err := q.err(); err != nil {
		return nil, err
	}
	if header := r.Header.Get("Last-Event-ID"); header != "" {
		text = header
	}
	if text == "" {
		return nil, nil //nolint:nilnil // no cursor is no error
	}
	c, err := parseCursor(text)
	return &c, err
}
