package chat

import "strconv"

// MaxReply is where a page stops, in bytes of JSON. NATS refuses payloads of more than 1 MiB by default.
const MaxReply = 768 << 10

// fit cuts the messages of a snapshot so that the reply stays below MaxReply, and says where to go on. The first message is
// always kept: a reader that could not get past it would never see the rest.
func fit(s Snapshot) Snapshot {
	size := 0
	for i, m := range s.Messages {
		raw, err := Marshal(m)
		if err != nil {
			raw = nil
		}
		size += len(raw) + 1
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

// pageOfChats keeps at most limit chats below MaxReply; the store was asked for one more, to know whether there is a next page.
func pageOfChats(chats []Chat, limit int) ListReply {
	size, keep := 0, len(chats)
	for i, c := range chats {
		raw, err := Marshal(c)
		if err != nil {
			raw = nil
		}
		size += len(raw) + 1
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
