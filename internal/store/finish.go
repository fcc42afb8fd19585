package store

import (
	"context"

	"github.com/jackc/pgx/v5"

	"processor/internal/chat"
)

// finishSQL ends the turn and, if the queue has a message, moves it into history as the next turn, under the same owner and epoch.
const finishSQL = `
with held as (
  select c.number, c.turn, c.step, c.epoch, c.interrupt_turn = c.turn as interrupted
  from processor.chats c where ` + guard + `
), head as (
  delete from processor.queued_messages q
  where (q.chat, q.id) = (select d.number, min(h.id) from held d join processor.queued_messages h on h.chat = d.number group by d.number)
  returning q.chat, q.parts, q.size, q.client_id, q.model, q.params
), said as (
  insert into processor.messages as m (chat, turn, step, epoch, role, finish, parts, size, chunks, client_id, model, params, usage, error)
  select d.number, o.turn, o.step, d.epoch, o.role, o.finish, o.parts, o.size, o.chunks, o.client_id, o.model, o.params, o.usage, o.error
  from held d cross join lateral (
    select n.place, d.turn, d.step + 1 as step, n.role, n.parts, n.size, n.chunks, null as client_id, n.model, n.params, n.usage,
      case when d.interrupted and n.finish <> '' then 'interrupted' else n.finish end as finish,
      case when not d.interrupted then n.error end as error
    from ` + given + `
    union all
    select 1000, d.turn + 1, 0, 'user', h.parts, h.size, null, h.client_id, h.model, h.params, null, '', null from head h
  ) o order by o.place
  returning ` + ownColumns + `
), changed as (
  update processor.chats c set ` + changing + `, ` + anew + `, last_error = null,
    status = case when h.chat is null then 'waiting' else 'running' end,
    worker_id = case when h.chat is not null then c.worker_id end,
    claimed_at = case when h.chat is not null then c.claimed_at end,
    idle_at = case when h.chat is null then now() end,
    turn = case when h.chat is null then c.turn else c.turn + 1 end,
    step = case when h.chat is null then c.step + 1 else 0 end,
    queued = case when h.chat is null then c.queued else c.queued - 1 end
  from held d left join head h on true where c.number = d.number
  returning ` + chatColumns + `
)
select ` + chatColumns + `, ` + messageColumns + ` from changed c left join said m on true order by m.id`

// finishCall is a Finish and what came of it.
type finishCall struct {
	lease    chat.Lease
	messages []chat.Message
	args     args
	w        written
}

// Finish implements chat.Runs.
func (s *Store) Finish(ctx context.Context, l chat.Lease, messages []chat.Message) (chat.Outcome, error) {
	c := finishCall{lease: l, messages: messages, args: guarded(chat.End, l)}
	c.args["chat"] = l.Chat
	c.args.messages(messages)
	err := s.do(ctx, "finish a turn", c.queue)
	if err != nil || c.w.found {
		return c.w.outcome(chat.Running, messages), err
	}
	return s.refused(ctx, chat.End, l)
}

func (c *finishCall) queue(b *batch) {
	var before written
	before.lock(b, c.args)
	b.query(finishSQL, c.args, func(rows pgx.Rows) error { return c.w.read(rows) })
}

// failSQL parks the chat. The step is not counted, so that a retry writes the same one.
const failSQL = `
with changed as (
  update processor.chats c set ` + changing + `, status = 'error', worker_id = null, claimed_at = null, retry_at = null, idle_at = now(),
    last_error = @cause::jsonb || jsonb_build_object('at', now(), 'attempts', c.attempts)
  where ` + guard + ` and c.interrupt_turn <> c.turn
  returning ` + chatColumns + `
), said as (
  insert into processor.messages as m (chat, turn, step, epoch, role, finish, parts, size, chunks, model, params, usage, error)
  select c.number, c.turn, c.step + 1, c.epoch, n.role, n.finish, n.parts, n.size, n.chunks, n.model, n.params, n.usage, n.error
  from changed c, ` + given + ` order by n.place
  returning ` + ownColumns + `
)
select ` + chatColumns + `, ` + messageColumns + ` from changed c left join said m on true order by m.id`

// Fail implements chat.Runs.
func (s *Store) Fail(ctx context.Context, l chat.Lease, messages []chat.Message) (chat.Outcome, error) {
	messages = append([]chat.Message{}, messages...)
	last := &messages[len(messages)-1]
	last.Finish = chat.Failed
	if last.Error == nil {
		last.Error = &chat.TurnError{}
	}
	a := guarded(chat.Fail, l)
	a.messages(messages)
	a["cause"] = encode(last.Error)
	var w written
	err := s.do(ctx, "fail a turn", func(b *batch) {
		b.query(failSQL, a, func(rows pgx.Rows) error { return w.read(rows) })
	})
	if err != nil || w.found {
		out := w.outcome(chat.Running, messages)
		return out, err
	}
	return s.refused(ctx, chat.Fail, l)
}
