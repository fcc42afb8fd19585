package store

import (
	"context"

	"github.com/jackc/pgx/v5"

	"processor/internal/chat"
)

// sendSQL is for what openSQL leaves: chats that are busy or parked, and messages that were accepted before. It judges messages by the rows that lockSQL locked and accepts them in the same statement. What opens a turn is the queue's head
// if there is one, and then the message joins the queue; so nothing overtakes what was sent earlier.
const sendSQL = `
with k as (
  select * from unnest(@chats::text[], @busy::text[], @parts::jsonb[], @sizes::int[], @client_ids::text[], @models::text[], @params::jsonb[], @afters::int[])
    with ordinality k (chat, busy, parts, size, client_id, model, params, after, place)
), accepted as (
  select k.place, ` + messageColumns + `
  from k join processor.chats c on c.id = k.chat cross join lateral (
    -- limit keeps it a look-up by both columns, see openSQL
    select m.* from processor.messages m where m.chat = c.number and m.client_id = k.client_id limit 1) m
  union all
  select k.place, ` + queuedColumns + `
  from k join processor.chats c on c.id = k.chat cross join lateral (
    select m.* from processor.queued_messages m where m.chat = c.number and m.client_id = k.client_id limit 1) m
), judged as (
  select k.*, c.number, c.turn, c.epoch, case
      when exists (select from accepted a where a.place = k.place) then 'accepted'
      when k.after >= 0 and (c.turn <> k.after or c.queued > 0 or c.status in ('pending', 'running')) then 'moved'
      when c.status in ('waiting', 'error') then 'opens'
      when k.busy = 'reject' then 'rejected'
      when c.queued >= @max_queue::int then 'full'
      else 'queues' end as verdict
  from k join processor.chats c on c.id = k.chat and ` + visibleEach + ` and c.status = any(@from::text[])
), head as (
  delete from processor.queued_messages q
  using (
    select j.number, (select min(h.id) from processor.queued_messages h where h.chat = j.number) as id from judged j where j.verdict = 'opens'
  ) o
  where q.chat = o.number and q.id = o.id
  returning q.chat, q.parts, q.size, q.client_id, q.model, q.params
), queued as (
  insert into processor.queued_messages as m (chat, parts, size, client_id, model, params)
  select j.number, j.parts, j.size, j.client_id, j.model, j.params from judged j left join head h on h.chat = j.number
  where j.verdict = 'queues' or (j.verdict = 'opens' and h.chat is not null)
  returning m.chat, ` + queuedColumns + `
), said as (
  insert into processor.messages as m (chat, turn, step, epoch, role, parts, size, client_id, model, params)
  select j.number, j.turn + 1, 0, j.epoch, 'user', o.parts, o.size, o.client_id, o.model, o.params
  from judged j left join head h on h.chat = j.number cross join lateral (
    select h.parts, h.size, h.client_id, h.model, h.params where h.chat is not null
    union all
    select j.parts, j.size, j.client_id, j.model, j.params where h.chat is null
  ) o
  where j.verdict = 'opens'
  returning m.chat, ` + messageColumns + `
), opened as (
  update processor.chats c set ` + changing + `, ` + anew + `, ` + waking + `, last_error = null, turn = c.turn + 1, step = 0
  from judged j where c.number = j.number and j.verdict = 'opens'
  returning j.place, j.verdict, ` + chatColumns + `
), waits as (
  update processor.chats c set ` + changing + `, queued = c.queued + 1,
    interrupt_turn = case when j.busy = 'interrupt' and c.status = 'running' then c.turn else c.interrupt_turn end
  from judged j where c.number = j.number and j.verdict = 'queues'
  returning j.place, j.verdict, ` + chatColumns + `
)
select c.place, c.verdict, ` + chatColumns + `, ` + messageColumns + `
from (select * from opened union all select * from waits) c left join (select * from said union all select * from queued) m on m.chat = c.number
union all
select j.place, j.verdict, ` + chatColumns + `, ` + messageColumns + `
from judged j join processor.chats c on c.number = j.number left join accepted m on m.place = j.place
where j.verdict in ('accepted', 'moved', 'rejected', 'full')`

// queuedColumns are messageColumns of a queued message called m.
const queuedColumns = `null::bigint as id, 0 as turn, 0 as step, 0::bigint as epoch, 'user' as role, m.parts, null::bytea as chunks, m.model, m.params,
    null::jsonb as usage, '' as finish, null::jsonb as error, m.client_id, m.created_at`

// sendCall is a Send and what came of it.
type sendCall struct {
	message chat.NewMessage
	tenant  string // chat.TenantOf the sender's context, which is not that of the transaction
	partial *chat.Partial
	// from is the status before, ended what interrupting the open turn did, after what accepting the message did.
	from    chat.Status
	ended   written
	after   written
	verdict string
}

func (c *sendCall) chat() chat.ID { return c.message.Chat }

// Send implements chat.Commands.
func (s *Store) Send(ctx context.Context, m chat.NewMessage, partial *chat.Partial) (chat.Sent, error) {
	if m.Busy != chat.BusyInterrupt {
		sent, _, err := s.OpenTurn(ctx, m, "", chat.Budget{})
		return sent, err
	}
	c := &sendCall{message: m, tenant: chat.TenantOf(ctx), partial: partial}
	if err := s.interruptAndSend(ctx, c); err != nil {
		return chat.Sent{}, err
	}
	return c.sent()
}

// sendAll accepts messages for different chats in one transaction.
func (s *Store) sendAll(ctx context.Context, calls []*sendCall) error {
	a := s.sendArgs(calls)
	return s.do(ctx, "accept a message", func(b *batch) {
		b.query(lockSQL, a, func(rows pgx.Rows) error { return readLocked(rows, calls) })
		b.query(sendSQL, a, func(rows pgx.Rows) error { return readSent(rows, calls) })
	})
}

// interruptAndSend first ends the open turn of a pending chat, in the same transaction. The send then raises the version.
func (s *Store) interruptAndSend(ctx context.Context, c *sendCall) error {
	calls := []*sendCall{c}
	a, end := s.sendArgs(calls), s.endArgs(c.message.Chat, 0, c.partial)
	end["client_id"], end["versions"] = c.message.ClientID, 0
	return s.do(ctx, "accept an interrupting message", func(b *batch) {
		b.query(lockSQL, a, func(rows pgx.Rows) error { return readLocked(rows, calls) })
		b.query(endSQL, end, c.ended.read)
		b.query(sendSQL, a, func(rows pgx.Rows) error { return readSent(rows, calls) })
	})
}

func (s *Store) sendArgs(calls []*sendCall) args {
	n := len(calls)
	chats, tenants, busy, clients, models := make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	parts, params, sizes, afters := make([][]byte, n), make([][]byte, n), make([]int32, n), make([]int32, n)
	for i, c := range calls {
		m := c.message
		chats[i], tenants[i], busy[i], clients[i], models[i] = string(m.Chat), c.tenant, string(m.Busy), m.ClientID, m.Model
		parts[i], params[i] = encode(notNil(m.Parts)), m.Params
		sizes[i], afters[i] = int32(len(parts[i])), -1
		if m.After != nil {
			afters[i] = int32(*m.After)
		}
	}
	return args{
		"chats": chats, "tenants": tenants, "busy": busy, "client_ids": clients, "models": models, "parts": parts, "params": params, "sizes": sizes,
		"afters": afters,
		"from":   from(chat.Send), "max_queue": chat.MaxQueue, "redispatch": s.config.Timing.RedispatchAfter,
	}
}

func readLocked(rows pgx.Rows, calls []*sendCall) error {
	for _, c := range calls {
		c.from = ""
	}
	for rows.Next() {
		var place int
		var status chat.Status
		if err := rows.Scan(&place, &status); err != nil {
			return err
		}
		calls[place-1].from = status
	}
	return rows.Err()
}

func readSent(rows pgx.Rows, calls []*sendCall) error {
	for _, c := range calls {
		c.after = written{}
	}
	var place int
	var verdict string
	return readWritten(rows, []any{&place, &verdict}, func() *written {
		c := calls[place-1]
		c.verdict = verdict
		return &c.after
	})
}

// sent says what the statements did, or why they did nothing.
func (c *sendCall) sent() (chat.Sent, error) {
	if !c.after.found {
		return chat.Sent{}, chat.ErrNotFound(c.message.Chat)
	}
	row := c.after.chat
	switch c.verdict {
	case "accepted":
		return c.again()
	case "moved":
		return chat.Sent{}, chat.Errorf(chat.Conflict, "after", "the chat is %s in turn %d, and the sender knows turn %d", string(row.Status), row.Turn, *c.message.After)
	case "rejected":
		return chat.Sent{}, chat.Errorf(chat.Conflict, "status", "the chat is %s, and the sender wants no queue", string(row.Status))
	case "full":
		return chat.Sent{}, chat.Errorf(chat.Full, "queue", "%d messages wait already, the limit is %d", row.Queued, chat.MaxQueue)
	}
	sent := chat.Sent{Outcome: chat.Outcome{Changed: true, Chat: row, From: c.from, Messages: c.ended.messages}}
	for _, m := range c.after.messages {
		if m.ClientID == c.message.ClientID {
			sent.Message, sent.Queued = m, m.ID == nil
		}
		if m.ID != nil {
			sent.Messages = append(sent.Messages, m)
		}
	}
	return sent, nil
}

// again answers a client_id that was accepted before.
func (c *sendCall) again() (chat.Sent, error) {
	accepted := firstOf(c.after.messages)
	if !c.message.SameContent(accepted) {
		return chat.Sent{}, chat.Errorf(chat.Conflict, "client_id", "client_id %q was sent before with other content", c.message.ClientID)
	}
	row := c.after.chat
	return chat.Sent{Outcome: chat.Outcome{Chat: row, From: row.Status}, Message: accepted, Queued: accepted.ID == nil, Duplicate: true}, nil
}
