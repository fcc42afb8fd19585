package store

import (
	"context"

	"github.com/jackc/pgx/v5"

	"processor/internal/chat"
)

// exchanged are the messages of turns that are over, as rows called x; their turns count from the chat's.
const exchanged = `unnest(@x_turns::int[], @x_steps::int[], @x_roles::text[], @x_finishes::text[], @x_parts::jsonb[], @x_sizes::int[], @x_clients::text[])
    with ordinality x (turn, step, role, finish, parts, size, client_id, place)`

// exchanges adds the values of exchanged.
func (a args) exchanges(all []chat.Exchange) {
	messages := chat.Exchanged(0, 0, all)
	n := len(messages)
	turns, steps, sizes := make([]int32, n), make([]int32, n), make([]int32, n)
	roles, finishes, parts, clients := make([]string, n), make([]string, n), make([][]byte, n), make([]*string, n)
	for i, m := range messages {
		parts[i] = encode(notNil(m.Parts))
		turns[i], steps[i], sizes[i], roles[i], finishes[i] = int32(m.Turn), int32(m.Step), int32(len(parts[i])), string(m.Role), string(m.Finish)
		if m.ClientID != "" {
			clients[i] = &messages[i].ClientID
		}
	}
	a["x_turns"], a["x_steps"], a["x_roles"], a["x_finishes"], a["x_parts"], a["x_sizes"], a["x_clients"] = turns, steps, roles, finishes, parts, sizes, clients
	a["turns"] = len(all)
}

const appendSQL = `
with idle as (
  select c.number, c.turn, c.epoch from processor.chats c where c.id = @chat and ` + visible + ` and c.status = any(@from::text[])
), said as (
  insert into processor.messages as m (chat, turn, step, epoch, role, finish, parts, size, client_id)
  select i.number, i.turn + x.turn, x.step, i.epoch, x.role, x.finish, x.parts, x.size, x.client_id
  from idle i cross join ` + exchanged + ` order by x.place
  returning ` + messageColumns + `
), changed as (
  update processor.chats c set ` + changing + `, idle_at = now(), turn = c.turn + @turns::int, step = 1
  from idle i where c.number = i.number
  returning ` + chatColumns + `
)
select ` + chatColumns + `, ` + messageColumns + ` from changed c left join said m on true order by m.id`

// Append implements chat.Histories.
func (s *Store) Append(ctx context.Context, id chat.ID, all []chat.Exchange) (chat.Outcome, error) {
	a := args{"chat": id, "from": from(chat.Append)}
	a.exchanges(all)
	var before, after written
	err := s.do(ctx, "append turns", func(b *batch) {
		before.lock(b, a)
		b.query(appendSQL, a, after.read)
	})
	switch {
	case err != nil:
		return chat.Outcome{}, err
	case !before.found:
		return chat.Outcome{}, chat.ErrNotFound(id)
	case !after.found:
		return chat.Outcome{}, chat.Append.Check(before.chat.Status)
	}
	return after.outcome(before.chat.Status, nil), nil
}

// forkSQL makes a chat with the history of another one, whose row was locked before, up to a turn that is over; or with none. All
// messages are inserted by one statement, in their order.
const forkSQL = `
with source as (
  select c.number, c.tenant, c.title, c.model, c.system from processor.chats c
  where c.id = @source and ` + visible + ` and (c.turn > @turn::int or c.status in ('waiting', 'error'))
    and exists (select from processor.messages m where m.chat = c.number and m.turn = @turn::int)
), created as (
  insert into processor.chats as c (id, tenant, title, model, system, metadata, digest, status, turn, step, epoch, idle_at, dispatch_at)
  select @chat, coalesce(s.tenant, @tenant), coalesce(s.title, @title), coalesce(s.model, @model), coalesce(s.system, @system), @metadata, @digest,
    case when @parts::jsonb is null then 'waiting' else 'pending' end,
    @turn::int + @turns::int + case when @parts::jsonb is null then 0 else 1 end,
    case when @parts::jsonb is null and @turns::int > 0 then 1 else 0 end,
    coalesce((select max(m.epoch) from processor.messages m where m.chat = s.number and m.turn <= @turn::int), 0),
    case when @parts::jsonb is null then now() end, case when @parts::jsonb is not null then now() + @redispatch::interval end
  from (select) one left join source s on true
  where @source = '' or s.number is not null
  on conflict (id) do nothing
  returning ` + chatColumns + `
), said as (
  insert into processor.messages as m (chat, epoch, created_at, turn, step, size, role, finish, model, client_id, usage, params, error, chunks, parts)
  select o.chat, o.epoch, o.created_at, o.turn, o.step, o.size, o.role, o.finish, o.model, o.client_id, o.usage, o.params, o.error, o.chunks, o.parts
  from (
    select 1 as part, m.id as place, c.number as chat, m.epoch, m.created_at, m.turn, m.step, m.size, m.role, m.finish, m.model, m.client_id, m.usage,
      m.params, m.error, m.chunks, m.parts
    from created c cross join source s join processor.messages m on m.chat = s.number and m.turn <= @turn::int
    union all
    select 2, x.place, c.number, c.epoch, now(), @turn::int + x.turn, x.step, x.size, x.role, x.finish, '', x.client_id, null, null, null, null, x.parts
    from created c cross join ` + exchanged + `
    union all
    select 3, 0, c.number, c.epoch, now(), c.turn, 0, @size, 'user', '', @message_model, @client_id, null, @params, null, null, @parts::jsonb
    from created c where @parts::jsonb is not null
  ) o order by o.part, o.place
  returning ` + messageColumns + `
)
select ` + chatColumns + `, ` + messageColumns + ` from created c left join said m on m.turn = @opens::int`

// forkedSQL finds what took the id, of whatever tenant.
const forkedSQL = `
select c.digest, ` + chatColumns + `, ` + messageColumns + `
from processor.chats c left join processor.messages m on m.chat = c.number and m.turn = @opens::int and m.role = 'user'
where c.id = @chat`

// turnSQL says whether a chat has a turn.
const turnSQL = `
select c.turn from processor.chats c where c.id = @source and ` + visible + ` and exists (
  select from processor.messages m where m.chat = c.number and m.turn = @turn::int
)`

// Fork implements chat.Histories.
func (s *Store) Fork(ctx context.Context, f chat.NewFork) (chat.Sent, error) {
	if only := chat.TenantOf(ctx); only != "" && f.Tenant != only {
		return chat.Sent{}, chat.ErrTenant(only)
	}
	a := s.forkArgs(f)
	for {
		var source, created, first written
		var firstDigest []byte
		var has bool
		err := s.do(ctx, "fork a chat", func(b *batch) {
			source.lock(b, args{"chat": f.From})
			b.query(forkSQL, a, created.read)
			b.query(forkedSQL, a, func(rows pgx.Rows) error {
				first = written{}
				return readWritten(rows, []any{&firstDigest}, func() *written { return &first })
			})
			b.query(turnSQL, a, exists(&has))
		})
		switch {
		case err != nil:
			return chat.Sent{}, err
		case created.found:
			return chat.Sent{Outcome: created.outcome("", nil), Message: firstOf(created.messages)}, nil
		case first.found:
			digest := f.Digest()
			return sameCreation(f.NewChat, digest[:], first, firstDigest)
		case f.From != "" && !source.found:
			return chat.Sent{}, chat.ErrNotFound(f.From)
		case f.From != "" && !has:
			return chat.Sent{}, chat.ErrNoTurn(f.From, f.Turn)
		case f.From != "" && f.Turn == source.chat.Turn && (source.chat.Status == chat.Running || source.chat.Status == chat.Pending):
			return chat.Sent{}, chat.ErrOpenTurn(f.Turn)
		}
		// The chat that took the id was deleted in between.
	}
}

func (s *Store) forkArgs(f chat.NewFork) args {
	digest := f.Digest()
	a := args{
		"chat": f.ID, "tenant": f.Tenant, "title": f.Title, "model": f.Model, "system": f.System, "metadata": object(f.Metadata),
		"digest": digest[:], "redispatch": s.config.Timing.RedispatchAfter, "source": string(f.From), "turn": f.Turn, "opens": f.Opens(),
	}
	a.exchanges(f.Exchanges)
	if f.Message != nil {
		a.message(*f.Message)
	}
	return a
}

// beforeSQL knows the turn by its first message, which follows those before it: there is no index of turns.
const beforeSQL = `
with before as (
  select c.number, coalesce((select max(m.id) from processor.messages m where m.chat = c.number and m.turn < @turn::int), 0) as id
  from processor.chats c where c.id = @chat and ` + visible + `
)
select b.id, coalesce((
  select f.turn = @turn::int and f.forgotten_at is not null
  from (select m.turn, m.forgotten_at from processor.messages m where m.chat = b.number and m.id > b.id order by m.id limit 1) f
), false), ` + chatColumns + `
from before b join processor.chats c on c.number = b.number`

// Before implements chat.Histories.
func (s *Store) Before(ctx context.Context, id chat.ID, turn int) (chat.TurnReply, error) {
	var w written
	var reply chat.TurnReply
	err := s.do(ctx, "find a turn", func(b *batch) {
		b.query(beforeSQL, args{"chat": id, "turn": turn}, func(rows pgx.Rows) error { return w.readChat(rows, &reply.After, &reply.Forgotten) })
	})
	if err == nil && !w.found {
		err = chat.ErrNotFound(id)
	}
	reply.Chat = w.chat
	return reply, err
}

// forgetSQL marks a turn that is over and was not marked. Its chat's row was locked before, so no turn opens or ends meanwhile.
const forgetSQL = `
update processor.messages m set forgotten_at = now()
from processor.chats c
where c.id = @chat and ` + visible + ` and (c.turn > @turn::int or c.status in ('waiting', 'error'))
  and m.chat = c.number and m.turn = @turn::int and m.role = 'user' and m.forgotten_at is null
returning m.id`

// rememberedSQL says whether a chat has a turn that was not forgotten.
const rememberedSQL = `
select m.id from processor.chats c join processor.messages m on m.chat = c.number
where c.id = @chat and ` + visible + ` and m.turn = @turn::int and m.role = 'user' and m.forgotten_at is null`

// Forget implements chat.Histories.
func (s *Store) Forget(ctx context.Context, id chat.ID, turn int) error {
	a := args{"chat": id, "turn": turn}
	var row written
	var forgot, open bool
	err := s.do(ctx, "forget a turn", func(b *batch) {
		row.lock(b, a)
		b.query(forgetSQL, a, exists(&forgot))
		b.query(rememberedSQL, a, exists(&open))
	})
	switch {
	case err != nil:
		return err
	case !row.found:
		return chat.ErrNotFound(id)
	case forgot:
		return nil
	case open:
		return chat.ErrOpenTurn(turn)
	}
	return chat.ErrNoTurn(id, turn)
}

// exists reads whether there is a row.
func exists(found *bool) func(pgx.Rows) error {
	return func(rows pgx.Rows) error {
		*found = rows.Next()
		rows.Close()
		return rows.Err()
	}
}
