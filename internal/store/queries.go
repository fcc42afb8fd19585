package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"processor/internal/chat"
)

const getSQL = `
select ` + chatColumns + ` from processor.chats c where c.id = @chat and ` + visible

// Get implements chat.Queries.
func (s *Store) Get(ctx context.Context, id chat.ID) (chat.Chat, error) {
	var w written
	err := s.do(ctx, "read a chat", func(b *batch) {
		b.query(getSQL, args{"chat": id}, func(rows pgx.Rows) error { return w.readChat(rows) })
	})
	if err == nil && !w.found {
		err = chat.ErrNotFound(id)
	}
	return w.chat, err
}

// snapshotSQL reads row and messages in one statement. What may be long in the row comes with the first message only, and no more messages than
// fill a page: the window sums sizes as they are stored, so what is beyond is counted and not read.
const snapshotSQL = `
select coalesce((select max(k.id) from processor.messages k where k.chat = c.number and k.id <= @after), 0), coalesce(m.found, 0), ` + chatFacts + `, case when coalesce(m.place, 1) = 1 then c.metadata else '{}' end, case when coalesce(m.place, 1) = 1 then c.system else '' end,
  ` + messageColumns + `
from processor.chats c left join lateral (
  select p.* from (
    select m.*, count(*) over () as found, row_number() over page as place, sum(m.size) over page as total
    from (
      select ` + messageColumns + `, m.size from processor.messages m where m.chat = c.number and m.id > @after order by m.id limit @messages::int
    ) m window page as (order by m.id)
  ) p where p.place = 1 or p.total <= @bytes::bigint
) m on true
where c.id = @chat and ` + visible + `
order by m.id`

// pageBytes is above what any caller puts into a page, so that it cuts no page short.
const pageBytes = 2 * chat.MaxReply

// Snapshot implements chat.Queries.
func (s *Store) Snapshot(ctx context.Context, id chat.ID, after int64, limit int) (chat.Snapshot, error) {
	var w written
	var kept int64
	var found int
	err := s.do(ctx, "read a transcript", func(b *batch) {
		b.query(snapshotSQL, args{"chat": id, "after": after, "messages": limit + 1, "bytes": pageBytes}, func(rows pgx.Rows) error {
			w = written{}
			return readWritten(rows, []any{&kept, &found}, func() *written { return &w })
		})
	})
	if err == nil && !w.found {
		err = chat.ErrNotFound(id)
	}
	if err != nil {
		return chat.Snapshot{}, err
	}
	snap := chat.Snapshot{Chat: w.chat, Messages: w.messages, Kept: &kept}
	if page := min(limit, len(snap.Messages)); found > page {
		snap.Messages = snap.Messages[:page]
		snap.Next = *snap.Messages[page-1].ID
	}
	return snap, nil
}

// queueSQL reads row and queue in one statement. A message that was taken into the history was before all that still wait. What may be long in the
// row comes with the first message only.
const queueSQL = `
select coalesce(m.waiting, 0), ` + chatFacts + `, case when coalesce(m.before, 0) = 0 then c.metadata else '{}' end, case when coalesce(m.before, 0) = 0 then c.system else '' end,
  ` + messageColumns + `
from processor.chats c left join lateral (
  select m.id as place, count(*) over () as waiting, sum(m.size) over (order by m.id) - m.size as before, ` + queuedColumns + `
  from processor.queued_messages m where m.chat = c.number
    and m.id > coalesce((select q.id from processor.queued_messages q where q.chat = c.number and q.client_id = @after::text), 0)
) m on m.before < @bytes::int
where c.id = @chat and ` + visible + `
order by m.place`

// Queue implements chat.Queries.
func (s *Store) Queue(ctx context.Context, id chat.ID, after string, bytes int) (chat.Queued, error) {
	var w written
	var waiting int
	err := s.do(ctx, "read a queue", func(b *batch) {
		b.query(queueSQL, args{"chat": id, "after": after, "bytes": bytes}, func(rows pgx.Rows) error {
			w = written{}
			return readWritten(rows, []any{&waiting}, func() *written { return &w })
		})
	})
	if err == nil && !w.found {
		err = chat.ErrNotFound(id)
	}
	if err != nil {
		return chat.Queued{}, err
	}
	return chat.Queued{Chat: w.chat, Messages: w.messages, More: waiting > len(w.messages)}, nil
}

// findSQL reads history and queue in one statement, so a message on its way from one to the other is found.
const findSQL = `
with c as (
  select ` + chatColumns + ` from processor.chats c where c.id = @chat and ` + visible + `
), m as (
  select ` + messageColumns + ` from c join processor.messages m on m.chat = c.number and m.client_id = @client_id::text
  union all
  select ` + queuedColumns + ` from c join processor.queued_messages m on m.chat = c.number and m.client_id = @client_id::text
)
select ` + chatColumns + `, ` + messageColumns + ` from c left join m on true`

// Find implements chat.Queries.
func (s *Store) Find(ctx context.Context, id chat.ID, clientID string) (chat.Message, error) {
	var w written
	err := s.do(ctx, "find a message", func(b *batch) {
		b.query(findSQL, args{"chat": id, "client_id": clientID}, w.read)
	})
	switch {
	case err != nil:
		return chat.Message{}, err
	case !w.found:
		return chat.Message{}, chat.ErrNotFound(id)
	case len(w.messages) == 0:
		return chat.Message{}, chat.ErrNoMessage(clientID)
	}
	return w.messages[0], nil
}

// listSQL has a text for each combination of filters, so that each is planned with its own index. A page ends where the system prompts, as what may
// be long in a row, are more than any reply has room for.
func listSQL(f chat.Filter) string {
	where := "true"
	if f.Before != 0 {
		where = "c.number < @before::bigint"
	}
	if f.Status != "" {
		where += " and c.status = '" + string(f.Status) + "'"
	}
	if f.Tenant != "" {
		where += " and c.tenant = @tenant and c.tenant <> ''"
	}
	return `select ` + chatColumns + ` from (
  select p.*, row_number() over page as place, sum(octet_length(p.system)) over page as total
  from (select ` + chatColumns + ` from processor.chats c where ` + where + ` order by c.number desc limit @chats::int) p
  window page as (order by p.number desc)
) c where c.place = 1 or c.total <= @bytes::bigint order by c.number desc`
}

// List implements chat.Queries.
func (s *Store) List(ctx context.Context, f chat.Filter) ([]chat.Chat, error) {
	if only := chat.TenantOf(ctx); only != "" {
		if f.Tenant != "" && f.Tenant != only {
			return nil, nil
		}
		f.Tenant = only // instead of visible, for the index
	}
	if f.Status != "" && !f.Status.Valid() {
		return nil, chat.Errorf(chat.Invalid, "status", "there is no status %q", string(f.Status))
	}
	var all []chat.Chat
	err := s.do(ctx, "list chats", func(b *batch) {
		b.query(listSQL(f), args{"before": f.Before, "tenant": f.Tenant, "chats": f.Limit, "bytes": pageBytes}, func(rows pgx.Rows) (err error) {
			all, err = readChats(rows)
			return err
		})
	})
	return all, err
}

func readChats(rows pgx.Rows) ([]chat.Chat, error) {
	return collect(rows, func(row pgx.CollectableRow) (c chat.Chat, err error) {
		return c, row.Scan(chatTargets(&c)...)
	})
}

const workersSQL = `
select w.id, w.name, w.host, w.pid, w.build, w.slots, w.running, w.draining, w.started_at, w.heartbeat_at, now() - w.heartbeat_at, w.lost_at is not null
from processor.workers w order by w.id`

// Workers implements chat.Queries.
func (s *Store) Workers(ctx context.Context) ([]chat.Worker, error) {
	var all []chat.Worker
	err := s.do(ctx, "list workers", func(b *batch) {
		b.query(workersSQL, nil, func(rows pgx.Rows) (err error) {
			all, err = collect(rows, s.worker)
			return err
		})
	})
	return all, err
}

func (s *Store) worker(row pgx.CollectableRow) (w chat.Worker, err error) {
	var age time.Duration
	var lost bool
	err = row.Scan(&w.ID, &w.Name, &w.Host, &w.PID, &w.Build, &w.Slots, &w.Running, &w.Draining, &w.StartedAt, &w.HeartbeatAt, &age, &lost)
	w.HeartbeatAge, w.Status = age.Milliseconds(), chat.WorkerLive
	switch {
	case lost:
		w.Status = chat.WorkerLost
	case age >= s.config.Timing.SuspectAfter:
		w.Status = chat.WorkerSuspect
	}
	return w, err
}
