package store

import (
	"context"

	"github.com/jackc/pgx/v5"

	"processor/internal/chat"
)

// openCalls are the results that close the tool calls of the open turn, in one message or none. It is chat.CloseCalls in SQL, so that
// an interruption needs one round trip; of a turn without a committed step it reads nothing. Its source is a row called e.
const openCalls = `
  select jsonb_agg(@closed::jsonb || jsonb_strip_nulls(jsonb_build_object('call_id', p.part->'call_id', 'name', p.part->'name')) order by m.id, p.place) as parts
  from ending e join processor.messages m on m.chat = e.number and m.turn = e.turn and m.role = 'assistant'
    cross join jsonb_array_elements(m.parts) with ordinality p (part, place)
  where e.step > 0 and p.part->>'type' = 'tool_call' and not exists (
    select from processor.messages r cross join jsonb_array_elements(r.parts) a (part)
    where r.chat = e.number and r.turn = e.turn and r.role = 'tool' and a.part->>'type' = 'tool_result' and a.part->'call_id' = p.part->'call_id')
  having count(*) > 0`

// closedCall is the part that openCalls completes, as the domain makes it.
func closedCall() []byte {
	return encode(chat.CloseCalls([]chat.Message{{Parts: []chat.Part{{Type: chat.ToolCallPart}}}})[0].Parts[0])
}

// endSQL ends the open turn of a pending chat as interrupted, in an epoch of its own, and opens the next one if the queue has it.
// It does nothing when the named turn is over, or when the client_id for whose sake it is done was accepted before.
const endSQL = `
with ending as (
  select c.number, c.turn, c.step, c.epoch, @of_number::bigint = c.number and @of_turn::int = c.turn and @of_step::int = c.step
      and @of_epoch::bigint > c.void_epoch and @of_epoch::bigint <= c.epoch as spoke
  -- offset and limit keep these look-ups by key, see openSQL
  from (select * from processor.chats c where c.id = @chat and ` + visible + ` offset 0) c
  where c.status = 'pending' and (@turn::int = 0 or c.turn = @turn::int)
    and (select m.id from processor.messages m where m.chat = c.number and m.client_id = @client_id::text limit 1) is null
    and (select m.id from processor.queued_messages m where m.chat = c.number and m.client_id = @client_id::text limit 1) is null
), closing as (` + openCalls + `
), head as (
  delete from processor.queued_messages q
  where (q.chat, q.id) = (select e.number, min(h.id) from ending e join processor.queued_messages h on h.chat = e.number group by e.number)
  returning q.chat, q.parts, q.size, q.client_id, q.model, q.params
), said as (
  insert into processor.messages as m (chat, turn, step, epoch, role, finish, parts, size, chunks, client_id, model, params)
  select e.number, n.turn, n.step, e.epoch + 1, n.role, n.finish, n.parts, n.size, n.chunks, n.client_id, n.model, n.params
  from ending e cross join lateral (
    select 1 as place, e.turn, e.step + 1 as step, 'tool' as role, '' as finish, l.parts, octet_length(l.parts::text) as size, null::bytea as chunks,
      null::text as client_id, '' as model, null::jsonb as params from closing l
    union all
    select 2, e.turn, e.step + 1, 'assistant', 'interrupted', case when e.spoke then @said::jsonb else '[]' end,
      case when e.spoke then @said_size::int else 2 end, case when e.spoke then @said_chunks::bytea end, null, '', null
    union all
    select 3, e.turn + 1, 0, 'user', '', h.parts, h.size, null, h.client_id, h.model, h.params from head h
  ) n order by n.place
  returning ` + messageColumns + `
), ended as (
  update processor.chats c set updated_at = now(), version = c.version + @versions::int, ` + anew + `, epoch = c.epoch + 1, dispatches = 0,
    status = case when h.chat is null then 'waiting' else 'pending' end,
    idle_at = case when h.chat is null then now() end,
    dispatch_at = case when h.chat is not null then now() + @redispatch::interval end,
    turn = case when h.chat is null then c.turn else c.turn + 1 end,
    step = case when h.chat is null then c.step + 1 else 0 end,
    queued = case when h.chat is null then c.queued else c.queued - 1 end
  from ending e left join head h on true where c.number = e.number
  returning ` + chatColumns + `
)
select ` + chatColumns + `, ` + messageColumns + ` from ended c left join said m on true order by m.id`

// askSQL asks the owner of a running chat to stop. For the parameter see retrySQL.
const askSQL = `
update processor.chats c set ` + changing + `, interrupt_turn = c.turn
where c.id = @chat and ` + visible + ` and c.status = @in::text and (@turn::int = 0 or c.turn = @turn::int) and c.interrupt_turn <> c.turn
returning ` + chatColumns

// endArgs are the values of endSQL.
func (s *Store) endArgs(id chat.ID, turn int, partial *chat.Partial) args {
	a := args{"chat": id, "turn": turn, "closed": closedCall(), "versions": 1, "redispatch": s.config.Timing.RedispatchAfter}
	if partial != nil {
		said := encode(notNil(partial.Parts))
		a["of_number"], a["of_turn"], a["of_step"], a["of_epoch"] = partial.Number, partial.Turn, partial.Step, partial.Epoch
		a["said"], a["said_size"], a["said_chunks"] = said, len(said), appendChunks(partial.Chunks)
	}
	return a
}

// Interrupt implements chat.Commands.
func (s *Store) Interrupt(ctx context.Context, id chat.ID, turn int, partial *chat.Partial) (chat.Outcome, error) {
	a := s.endArgs(id, turn, partial)
	a["in"] = chat.Running
	var before, ended, asked written
	err := s.do(ctx, "interrupt a turn", func(b *batch) {
		before.lock(b, a)
		b.query(endSQL, a, ended.read)
		b.query(askSQL, a, func(rows pgx.Rows) error { return asked.readChat(rows) })
	})
	switch {
	case err != nil:
		return chat.Outcome{}, err
	case !before.found:
		return chat.Outcome{}, chat.ErrNotFound(id)
	case ended.found:
		return ended.outcome(before.chat.Status, nil), nil
	case asked.found:
		return asked.outcome(before.chat.Status, nil), nil
	}
	return chat.Outcome{Chat: before.chat, From: before.chat.Status}, nil
}
