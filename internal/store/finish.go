package store

import (
	"context"

	"github.com/jackc/pgx/v5"

	"processor/internal/chat"
)

// restSQL ends turns of one last message after which the chat rests, as nearly all do. It locks by updating: it reads nothing but the row. What has a
// queue, or was asked to stop, is left to finishSQL.
const restSQL = `
with ended as (
  update processor.chats c set ` + changing + `, ` + anew + `, last_error = null, status = 'waiting', worker_id = null, claimed_at = null, idle_at = now(),
    step = c.step + 1
  from unnest(@numbers::bigint[], @epochs::bigint[], @workers::text[], @turns::int[], @steps::int[], @roles::text[], @finishes::text[], @parts::jsonb[],
      @sizes::int[], @chunks::bytea[], @models::text[], @params::jsonb[], @usages::jsonb[], @errors::jsonb[])
    with ordinality l (number, epoch, worker, turn, step, role, finish, parts, size, chunks, model, params, usage, error, place)
  where ` + guard + ` and c.queued = 0 and c.interrupt_turn <> c.turn
  returning l.place, nextval('processor.messages_id_seq') as message, l.role, l.finish, l.parts, l.size, l.chunks, l.model as answered, l.params, l.usage,
    l.error, ` + chatColumns + `
), said as (
  insert into processor.messages (chat, id, turn, step, epoch, role, finish, parts, size, chunks, model, params, usage, error) overriding system value
  select e.number, e.message, e.turn, e.step, e.epoch, e.role, e.finish, e.parts, e.size, e.chunks, e.answered, e.params, e.usage, e.error from ended e
)
select c.place, c.message, ` + chatColumns + ` from ended c`

// finishSQL ends turns and, where the queue has a message, moves its head into history as the next turn, under the same owner and epoch.
const finishSQL = `
with held as (
  select l.place, c.number, c.turn, c.step, c.epoch, c.interrupt_turn = c.turn as interrupted
  from ` + leases + ` join processor.chats c on ` + guard + `
), head as (
  delete from processor.queued_messages q
  using (select d.number, (select min(h.id) from processor.queued_messages h where h.chat = d.number) as id from held d) o
  where q.chat = o.number and q.id = o.id
  returning q.chat, q.parts, q.size, q.client_id, q.model, q.params
), said as (
  insert into processor.messages as m (chat, turn, step, epoch, role, finish, parts, size, chunks, client_id, model, params, usage, error)
  select o.number, o.turn, o.step, o.epoch, o.role, o.finish, o.parts, o.size, o.chunks, o.client_id, o.model, o.params, o.usage, o.error
  from (
    select n.place, d.number, d.turn, d.step + 1 as step, d.epoch, n.role, n.parts, n.size, n.chunks, null as client_id, n.model, n.params, n.usage,
      case when d.interrupted and n.finish <> '' then 'interrupted' else n.finish end as finish,
      case when not d.interrupted then n.error end as error
    from held d join ` + given + ` on n.of = d.place
    union all
    select null, d.number, d.turn + 1, 0, d.epoch, 'user', h.parts, h.size, null, h.client_id, h.model, h.params, null, '', null
    from held d join head h on h.chat = d.number
  ) o order by o.place nulls last
  returning m.chat, ` + ownColumns + `
), changed as (
  update processor.chats c set ` + changing + `, ` + anew + `, last_error = null,
    status = case when h.chat is null then 'waiting' else 'running' end,
    worker_id = case when h.chat is not null then c.worker_id end,
    claimed_at = case when h.chat is not null then c.claimed_at end,
    idle_at = case when h.chat is null then now() end,
    turn = case when h.chat is null then c.turn else c.turn + 1 end,
    step = case when h.chat is null then c.step + 1 else 0 end,
    queued = case when h.chat is null then c.queued else c.queued - 1 end
  from held d left join head h on h.chat = d.number where c.number = d.number
  returning d.place, ` + chatColumns + `
)
select c.place, ` + chatColumns + `, ` + messageColumns + ` from changed c left join said m on m.chat = c.number order by m.id`

// finishCall is a Finish and what came of it.
type finishCall struct {
	lease    chat.Lease
	messages []chat.Message

	size  int32
	rests bool
	id    int64
	row   chat.Chat
}

func (c *finishCall) chat() chat.ID { return c.lease.Chat }

// Finish implements chat.Runs.
func (s *Store) Finish(ctx context.Context, l chat.Lease, messages []chat.Message) (chat.Outcome, error) {
	if len(messages) == 1 {
		c := &finishCall{lease: l, messages: messages}
		if err := s.finishes.do(ctx, c); err != nil {
			return chat.Outcome{}, err // who gave up waiting may not look at c: its flight goes on
		}
		if c.rests {
			out := c.outcome()
			s.recent.add(l, out.Messages[0], c.size)
			return out, nil
		}
	}
	a := guarded(chat.End, l)
	a["chats"] = []string{string(l.Chat)}
	a.messages(messages)
	var w written
	err := s.do(ctx, "finish a turn", func(b *batch) {
		b.exec(lockSQL, a)
		b.query(finishSQL, a, func(rows pgx.Rows) error {
			var place int
			w = written{}
			return readWritten(rows, []any{&place}, func() *written { return &w })
		})
	})
	if err != nil || w.found {
		return w.outcome(chat.Running, messages), err
	}
	return s.refused(ctx, chat.End, l)
}

// restAll ends the turns of different chats in one transaction.
func (s *Store) restAll(ctx context.Context, calls []*finishCall) error {
	held, messages := make([]chat.Lease, len(calls)), make([][]chat.Message, len(calls))
	for i, c := range calls {
		held[i], messages[i] = c.lease, c.messages
	}
	a := guarded(chat.End, held...)
	for i, size := range a.messages(messages...) {
		calls[i].size = size
	}
	return s.do(ctx, "finish a turn", func(b *batch) {
		b.query(restSQL, a, func(rows pgx.Rows) error {
			for _, c := range calls {
				c.rests = false
			}
			for rows.Next() {
				var place int
				var id int64
				var row chat.Chat
				if err := rows.Scan(append([]any{&place, &id}, chatTargets(&row)...)...); err != nil {
					return err
				}
				c := calls[place-1]
				c.rests, c.id, c.row = true, id, row
			}
			return rows.Err()
		})
	})
}

func (c *finishCall) outcome() chat.Outcome {
	m, id := c.messages[0], c.id
	m.ID, m.Chat, m.Turn, m.Step, m.Epoch, m.CreatedAt = &id, c.row.ID, c.row.Turn, c.row.Step, c.row.Epoch, c.row.UpdatedAt
	m.Parts = notNil(m.Parts)
	return chat.Outcome{Changed: true, Chat: c.row, From: chat.Running, Messages: []chat.Message{m}}
}

// failSQL parks the chat. The step is not counted, so that a retry writes the same one.
const failSQL = `
with changed as (
  update processor.chats c set ` + changing + `, status = 'error', worker_id = null, claimed_at = null, retry_at = null, idle_at = now(),
    last_error = jsonb_build_object('attempts', c.attempts) || @cause::jsonb || jsonb_build_object('at', now())
  from ` + leases + ` where ` + guard + ` and c.interrupt_turn <> c.turn
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
		b.query(failSQL, a, w.read)
	})
	if err != nil || w.found {
		return w.outcome(chat.Running, messages), err
	}
	return s.refused(ctx, chat.Fail, l)
}
