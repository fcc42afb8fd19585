package store

import (
	"context"

	"github.com/jackc/pgx/v5"

	"processor/internal/chat"
)

// sendSQL judges a message by the row that lockSQL locked and accepts it in the same statement. What opens a turn is the queue's head
// if there is one, and then the message joins the queue; so nothing overtakes what was sent earlier.
const sendSQL = `
with accepted as (
  select ` + messageColumns + ` from processor.chats c join processor.messages m on m.chat = c.number
  where c.id = @chat and m.client_id = @client_id
  union all
  select null, 0, 0, 0, 'user', m.parts, null, m.model, m.params, null, '', null, m.client_id, m.created_at
  from processor.chats c join processor.queued_messages m on m.chat = c.number
  where c.id = @chat and m.client_id = @client_id
), judged as (
  select c.number, c.turn, c.epoch, case
      when exists (select from accepted) then 'accepted'
      when c.status in ('waiting', 'error') then 'opens'
      when @busy = 'reject' then 'rejected'
      when c.queued >= @max_queue::int then 'full'
      else 'queues' end as verdict
  from processor.chats c where c.id = @chat and c.status = any(@from::text[])
), head as (
  delete from processor.queued_messages q
  where (q.chat, q.id) = (select j.number, min(h.id) from judged j join processor.queued_messages h on h.chat = j.number
    where j.verdict = 'opens' group by j.number)
  returning q.parts, q.size, q.client_id, q.model, q.params
), queued as (
  insert into processor.queued_messages as m (chat, parts, size, client_id, model, params)
  select j.number, @parts, @size, @client_id, @message_model, @params from judged j
  where j.verdict = 'queues' or (j.verdict = 'opens' and exists (select from head))
  returning m.parts, m.model, m.params, m.client_id, m.created_at
), said as (
  insert into processor.messages as m (chat, turn, step, epoch, role, parts, size, client_id, model, params)
  select j.number, j.turn + 1, 0, j.epoch, 'user', o.parts, o.size, o.client_id, o.model, o.params
  from judged j, (
    select * from head
    union all
    select @parts::jsonb, @size::int, @client_id::text, @message_model::text, @params::jsonb where not exists (select from head)
  ) o
  where j.verdict = 'opens'
  returning ` + messageColumns + `
), opened as (
  update processor.chats c set ` + changing + `, ` + anew + `, ` + waking + `, last_error = null, turn = c.turn + 1, step = 0,
    queued = c.queued + (select count(*) from queued) - (select count(*) from head)
  from judged j where c.number = j.number and j.verdict = 'opens'
  returning ` + chatColumns + `
), waits as (
  update processor.chats c set ` + changing + `, queued = c.queued + (select count(*) from queued),
    interrupt_turn = case when @busy = 'interrupt' and c.status = 'running' then c.turn else c.interrupt_turn end
  from judged j where c.number = j.number and j.verdict = 'queues'
  returning ` + chatColumns + `
)
select j.verdict, ` + chatColumns + `, ` + messageColumns + `
from judged j join (select * from opened union all select * from waits) c on true left join (
  select * from said
  union all
  select null, 0, 0, 0, 'user', q.parts, null, q.model, q.params, null, '', null, q.client_id, q.created_at from queued q
) m on true
union all
select j.verdict, ` + chatColumns + `, ` + messageColumns + `
from judged j join processor.chats c on c.number = j.number left join accepted m on true
where j.verdict in ('accepted', 'rejected', 'full')`

// sendCall is a Send and what came of it.
type sendCall struct {
	message chat.NewMessage
	args    args
	// before is the row as it was, ended what interrupting it did, after what accepting the message did.
	before, ended, after written
	verdict              string
}

// Send implements chat.Commands.
func (s *Store) Send(ctx context.Context, m chat.NewMessage, partial *chat.Partial) (chat.Sent, error) {
	c := sendCall{message: m, args: args{
		"chat": m.Chat, "from": from(chat.Send), "busy": m.Busy, "max_queue": chat.MaxQueue, "redispatch": s.config.Timing.RedispatchAfter,
	}}
	c.args.message(m)
	c.args.ending(0, partial)
	// The send that follows in the same transaction raises the version.
	c.args["versions"] = 0
	if err := s.do(ctx, "accept a message", c.queue); err != nil {
		return chat.Sent{}, err
	}
	return c.sent()
}

func (c *sendCall) queue(b *batch) {
	c.before.lock(b, c.args)
	c.ended = written{}
	if c.message.Busy == chat.BusyInterrupt {
		b.query(endSQL, c.args, func(rows pgx.Rows) error { return c.ended.read(rows) })
	}
	b.query(sendSQL, c.args, func(rows pgx.Rows) error { return c.after.read(rows, &c.verdict) })
}

// sent says what the statements did, or why they did nothing.
func (c *sendCall) sent() (chat.Sent, error) {
	if !c.before.found || !c.after.found {
		return chat.Sent{}, chat.ErrNotFound(c.message.Chat)
	}
	row := c.after.chat
	switch c.verdict {
	case "accepted":
		return c.again()
	case "rejected":
		return chat.Sent{}, chat.Errorf(chat.Conflict, "status", "the chat is %s, and the sender wants no queue", string(row.Status))
	case "full":
		return chat.Sent{}, chat.Errorf(chat.Full, "queue", "%d messages wait already, the limit is %d", row.Queued, chat.MaxQueue)
	}
	sent := chat.Sent{Outcome: chat.Outcome{Changed: true, Chat: row, From: c.before.chat.Status, Messages: c.ended.messages}}
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
