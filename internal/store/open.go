package store

import (
	"context"

	"github.com/jackc/pgx/v5"

	"processor/internal/chat"
)

// openSQL accepts messages that open a turn of an idle chat, which nearly every message does, and makes the worker that was named the owner,
// if it may claim. It locks by updating: an idle chat has no queue, and that no message is accepted twice is also kept by an index, so
// nothing that it reads beside the row can be out of date and do harm. A chat for which it finds nothing to do is left to sendSQL.
const openSQL = `
with opened as (
  update processor.chats c set ` + changing + `, ` + anew + `, turn = c.turn + 1, step = 0, idle_at = null, dispatches = 0,
    status = case when w.id is null then 'pending' else 'running' end, worker_id = w.id,
    epoch = case when w.id is null then c.epoch else c.epoch + 1 end,
    claimed_at = case when w.id is not null then now() end, dispatch_at = case when w.id is null then now() + @redispatch::interval end
  from unnest(@chats::text[], @workers::text[], @parts::jsonb[], @sizes::int[], @client_ids::text[], @models::text[], @params::jsonb[], @afters::int[])
    with ordinality k (chat, worker, parts, size, client_id, model, params, after, place)
    left join processor.workers w on w.id = k.worker and w.lost_at is null and not w.draining
  where c.id = k.chat and ` + visibleEach + ` and c.status = 'waiting' and k.after in (-1, c.turn)
    -- limit keeps this a look-up by both columns: as a join it was planned, while the table was empty, by the second column of the index
    and (select m.id from processor.messages m where m.chat = c.number and m.client_id = k.client_id limit 1) is null
  returning k.place, nextval('processor.messages_id_seq') as message, k.parts, k.size, k.client_id, k.model as of_turn, k.params, ` + chatColumns + `
), said as (
  insert into processor.messages (chat, id, turn, step, epoch, role, parts, size, client_id, model, params) overriding system value
  select o.number, o.message, o.turn, 0, o.epoch, 'user', o.parts, o.size, o.client_id, o.of_turn, o.params from opened o
)
select c.place, c.message, ` + chatColumns + ` from opened c`

// openCall is a message that may open a turn, and what came of it.
type openCall struct {
	message chat.NewMessage
	tenant  string // as of sendCall
	worker  chat.WorkerID
	budget  chat.Budget

	opened  bool
	id      int64
	row     chat.Chat
	history historyRead
}

func (c *openCall) chat() chat.ID { return c.message.Chat }

// OpenTurn implements chat.Opens.
func (s *Store) OpenTurn(ctx context.Context, m chat.NewMessage, worker chat.WorkerID, b chat.Budget) (chat.Sent, []chat.Message, error) {
	c := &openCall{message: m, tenant: chat.TenantOf(ctx), worker: worker, budget: b}
	switch err := s.opens.do(ctx, c); {
	case err != nil && meaning(err) != taken:
		return chat.Sent{}, nil, err
	case c.opened && c.row.Status == chat.Running:
		return c.sent(), s.recent.keep(c.history.of(c.row)), nil
	case c.opened:
		return c.sent(), nil, nil
	}
	other := &sendCall{message: m, tenant: c.tenant}
	if err := s.sends.do(ctx, other); err != nil {
		return chat.Sent{}, nil, err
	}
	sent, err := other.sent()
	return sent, nil, err
}

// openAll accepts messages for different chats in one transaction.
func (s *Store) openAll(ctx context.Context, calls []*openCall) error {
	n, owned := len(calls), false
	chats, tenants, workers, clients, models := make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	parts, params, sizes, afters := make([][]byte, n), make([][]byte, n), make([]int32, n), make([]int32, n)
	histories := make([]*historyRead, n)
	for i, c := range calls {
		m := c.message
		chats[i], tenants[i], workers[i], clients[i], models[i] = string(m.Chat), c.tenant, string(c.worker), m.ClientID, m.Model
		parts[i], params[i] = encode(notNil(m.Parts)), m.Params
		sizes[i], afters[i] = int32(len(parts[i])), -1
		if m.After != nil {
			afters[i] = int32(*m.After)
		}
		histories[i] = &c.history
		c.history = historyRead{chat: m.Chat, past: s.recent.of(m.Chat, c.budget), budget: c.budget}
		owned = owned || c.worker != ""
	}
	a := args{
		"chats": chats, "tenants": tenants, "afters": afters, "workers": workers, "client_ids": clients, "models": models, "parts": parts, "params": params, "sizes": sizes,
		"redispatch": s.config.Timing.RedispatchAfter,
	}
	a.histories(histories)
	return s.do(ctx, "accept a message", func(b *batch) {
		b.query(openSQL, a, func(rows pgx.Rows) error { return readOpened(rows, calls) })
		if owned {
			b.query(historySQL, a, func(rows pgx.Rows) error { return readHistories(rows, histories) })
		}
	})
}

func readOpened(rows pgx.Rows, calls []*openCall) error {
	for _, c := range calls {
		c.opened = false
	}
	for rows.Next() {
		var place int
		var id int64
		var row chat.Chat
		if err := rows.Scan(append([]any{&place, &id}, chatTargets(&row)...)...); err != nil {
			return err
		}
		c := calls[place-1]
		c.opened, c.id, c.row = true, id, row
	}
	return rows.Err()
}

// sent makes the message from what was given: the database stored just that.
func (c *openCall) sent() chat.Sent {
	m := chat.Message{
		ID: &c.id, Chat: c.row.ID, Turn: c.row.Turn, Epoch: c.row.Epoch, Role: chat.User, Parts: notNil(c.message.Parts),
		Model: c.message.Model, Params: c.message.Params, ClientID: c.message.ClientID, CreatedAt: c.row.UpdatedAt,
	}
	return chat.Sent{Outcome: chat.Outcome{Changed: true, Chat: c.row, From: chat.Waiting, Messages: []chat.Message{m}}, Message: m}
}
