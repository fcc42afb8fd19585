package store

import (
	"context"
	"encoding/json"

	"github.com/jackc/pgx/v5"

	"processor/internal/chat"
)

// createSQL makes the chat and its first message, or nothing if the id is taken.
const createSQL = `
with created as (
  insert into processor.chats as c (id, tenant, title, model, system, metadata, digest, status, turn, idle_at, dispatch_at)
  values (@chat, @tenant, @title, @model, @system, @metadata, @digest,
    case when @parts::jsonb is null then 'waiting' else 'pending' end, case when @parts::jsonb is null then 0 else 1 end,
    case when @parts::jsonb is null then now() end, case when @parts::jsonb is not null then now() + @redispatch::interval end)
  on conflict (id) do nothing
  returning ` + chatColumns + `
), said as (
  insert into processor.messages as m (chat, turn, step, epoch, role, parts, size, model, params, client_id)
  select c.number, 1, 0, 0, 'user', @parts, @size, @message_model, @params, @client_id from created c where @parts::jsonb is not null
  returning ` + messageColumns + `
)
select ` + chatColumns + `, ` + messageColumns + ` from created c left join said m on true`

// createdSQL finds what took the id, of whatever tenant, which a concurrent creation may have done while createSQL waited.
const createdSQL = `
select c.digest, ` + chatColumns + `, ` + messageColumns + `
from processor.chats c left join lateral (
  select f.* from processor.messages f where f.chat = c.number order by f.id limit 1 -- what opened the chat may have been edited since
) m on true
where c.id = @chat`

// Create implements chat.Commands.
func (s *Store) Create(ctx context.Context, n chat.NewChat) (chat.Sent, error) {
	if only := chat.TenantOf(ctx); only != "" && n.Tenant != only {
		return chat.Sent{}, chat.ErrTenant(only)
	}
	digest := n.Digest()
	a := args{
		"chat": n.ID, "tenant": n.Tenant, "title": n.Title, "model": n.Model, "system": n.System, "metadata": object(n.Metadata),
		"digest": digest[:], "redispatch": s.config.Timing.RedispatchAfter,
	}
	if n.Message != nil {
		a.message(*n.Message)
	}
	for {
		var created, first written
		var firstDigest []byte
		err := s.do(ctx, "create a chat", func(b *batch) {
			b.query(createSQL, a, created.read)
			b.query(createdSQL, a, func(rows pgx.Rows) error {
				first = written{}
				return readWritten(rows, []any{&firstDigest}, func() *written { return &first })
			})
		})
		switch {
		case err != nil:
			return chat.Sent{}, err
		case created.found:
			return chat.Sent{Outcome: created.outcome("", nil), Message: firstOf(created.messages)}, nil
		case first.found:
			return sameCreation(n, digest[:], first, firstDigest)
		}
		// The chat that took the id was deleted in between.
	}
}

// sameCreation answers a creation of an id that exists.
func sameCreation(n chat.NewChat, digest []byte, first written, firstDigest []byte) (chat.Sent, error) {
	if string(firstDigest) != string(digest) {
		return chat.Sent{}, chat.Errorf(chat.Conflict, "id", "there is another chat %q", string(n.ID))
	}
	sent := chat.Sent{Outcome: chat.Outcome{Chat: first.chat, From: first.chat.Status}, Duplicate: true}
	if n.Message != nil {
		sent.Message = firstOf(first.messages)
	}
	return sent, nil
}

func firstOf(messages []chat.Message) chat.Message {
	if len(messages) == 0 {
		return chat.Message{}
	}
	return messages[0]
}

// message adds the values of a user message to a statement's.
func (a args) message(m chat.NewMessage) {
	parts := encode(notNil(m.Parts))
	a["parts"], a["size"], a["message_model"], a["client_id"] = parts, len(parts), m.Model, m.ClientID
	if m.Params != nil {
		a["params"] = []byte(m.Params)
	}
}

// encode makes the JSON that a column gets.
func encode(v any) []byte {
	raw, err := chat.Marshal(v)
	if err != nil {
		// Only a tool call's input can be broken. The server refuses this, and so the turn fails.
		return []byte(err.Error())
	}
	return raw
}

// object is what a missing JSON object is stored as.
func object(raw json.RawMessage) []byte {
	if len(raw) == 0 {
		return []byte("{}")
	}
	return raw
}
