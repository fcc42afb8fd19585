package responses

import (
	"strconv"
	"strings"

	"processor/internal/chat"
)

// passing begins the ids of the chats of responses that are not stored. Nothing of this protocol finds them by name.
const passing = "unstored-"

// ref names a response: a turn of a chat.
type ref struct {
	chat chat.ID
	turn int
}

func (r ref) String() string { return "resp_" + string(r.chat) + "_" + strconv.Itoa(r.turn) }

// refOf reads a response's id. A chat's id may have underscores too, so the turn is what follows the last one.
func refOf(id string) (ref, bool) {
	rest, ok := strings.CutPrefix(id, "resp_")
	i := strings.LastIndexByte(rest, '_')
	if !ok || i < 0 {
		return ref{}, false
	}
	turn, err := strconv.ParseInt(rest[i+1:], 10, 32)
	if err != nil || turn < 1 || strconv.FormatInt(turn, 10) != rest[i+1:] || chat.CheckID("id", rest[:i]) != nil || strings.HasPrefix(rest, passing) {
		return ref{}, false
	}
	return ref{chat.ID(rest[:i]), int(turn)}, true
}

func conversationID(id chat.ID) string { return "conv_" + string(id) }

func chatOf(conversation string) (chat.ID, bool) {
	id, ok := strings.CutPrefix(conversation, "conv_")
	return chat.ID(id), ok && chat.CheckID("id", id) == nil && !strings.HasPrefix(id, passing)
}

// item ids of a turn: the user's message has no index, what was answered has its output_index.
func (r ref) said() string { return "msg_" + string(r.chat) + "_" + strconv.Itoa(r.turn) }

func (r ref) item(kind string, index int64) string {
	return kind + "_" + string(r.chat) + "_" + strconv.Itoa(r.turn) + "_" + strconv.FormatInt(index, 10)
}
