package chat

import "strconv"

// MaxReply is where a page stops, in bytes of JSON. NATS refuses payloads of more than 1 MiB by default.
const MaxReply = 768 << 10

// maxPayload is what NATS carries by default, less some room for headers.
const maxPayload = 1000 << 10

// fit cuts the messages of a snapshot so that the reply stays below MaxReply, and says where to go on. The first message is
// always kept: a reader that could not get past it would never see the rest.
func fit(s Snapshot) Snapshot {
	size := sizeOf(s.Chat)
	for i, m := range s.Messages {
		size += sizeOf(m) + 1
		if i > 0 && size > MaxReply {
			s.Messages = s.Messages[:i]
			s.Next = *s.Messages[i-1].ID
			break
		}
	}
	if s.Messages == nil {
		s.Messages = []Message{}
	}
	return s
}

// withPartial adds what the owner has streamed, if it fits. If not, it comes in a page of its own after these messages, and one that fits
// nowhere not at all: its message brings the text when it is committed.
func (s Snapshot) withPartial(p *Partial) Snapshot {
	if p == nil || sizeOf(s)+sizeOf(p) <= MaxReply {
		s.Partial = p
		return s
	}
	if n := len(s.Messages); n > 0 {
		s.Next = *s.Messages[n-1].ID
		return s
	}
	if sizeOf(s)+sizeOf(p) <= maxPayload {
		s.Partial = p
	}
	return s
}

func sizeOf(v any) int {
	raw, err := Marshal(v)
	if err != nil {
		return 0
	}
	return len(raw)
}

// pageOfChats keeps at most limit chats below MaxReply; the store was asked for one more, to know whether there is a next page.
func pageOfChats(chats []Chat, limit int) ListReply {
	size, keep := 0, len(chats)
	for i, c := range chats {
		size += sizeOf(c) + 1
		if i == limit || (i > 0 && size > MaxReply) {
			keep = i
			break
		}
	}
	reply := ListReply{Chats: chats[:keep]}
	if reply.Chats == nil {
		reply.Chats = []Chat{}
	}
	if keep < len(chats) {
		reply.Next = strconv.FormatInt(int64(chats[keep-1].Number), 36)
	}
	return reply
}
