package store

import (
	"regexp"
	"slices"
	"strconv"
	"sync"

	"github.com/jackc/pgx/v5"

	"processor/internal/chat"
)

// args are the values of a statement's @names. A name that the statement lacks is ignored, a missing one is null.
type args map[string]any

// statement is SQL with its @names numbered.
type statement struct {
	sql   string
	names []string
}

// statements remembers what was numbered: pgx's own named arguments scan the text in every call, which takes longer than
// the server takes for a small statement.
type statements struct{ known sync.Map }

func (s *statements) of(sql string) *statement {
	if known, ok := s.known.Load(sql); ok {
		return known.(*statement)
	}
	known, _ := s.known.LoadOrStore(sql, number(sql))
	return known.(*statement)
}

var argument = regexp.MustCompile(`@[a-z_]+`)

func number(sql string) *statement {
	s := &statement{}
	s.sql = argument.ReplaceAllStringFunc(sql, func(name string) string {
		i := slices.Index(s.names, name[1:])
		if i < 0 {
			i = len(s.names)
			s.names = append(s.names, name[1:])
		}
		return "$" + strconv.Itoa(i+1)
	})
	return s
}

// values are those of the names, of which @tenant_only is not the call's to give.
func (s *statement) values(a args, tenant string) []any {
	values := make([]any, len(s.names))
	for i, name := range s.names {
		if name == "tenant_only" {
			values[i] = tenant
			continue
		}
		values[i] = a[name]
	}
	return values
}

// batch gathers the statements of one round trip.
type batch struct {
	pgx.Batch

	statements *statements
	// tenant is chat.TenantOf the call's context.
	tenant string
}

// query adds a statement; read gets its rows.
func (b *batch) query(sql string, a args, read func(pgx.Rows) error) {
	s := b.statements.of(sql)
	b.Queue(s.sql, s.values(a, b.tenant)...).Query(read)
}

// exec adds a statement whose rows nobody wants.
func (b *batch) exec(sql string, a args) {
	s := b.statements.of(sql)
	b.Queue(s.sql, s.values(a, b.tenant)...)
}

// from lists the statuses from which the table allows a transition.
func from(t chat.Transition) []string {
	var list []string
	for _, s := range t.From() {
		list = append(list, string(s))
	}
	return list
}

// guard is the clause of every write under a lease called l (I2). No such write goes around it.
const guard = `c.number = l.number and c.epoch = l.epoch and c.worker_id = l.worker and c.turn = l.turn and c.step = l.step
    and c.status = any(@from::text[])`

// visible is the clause of every statement that finds a chat by a caller's word: the chats of other tenants do not exist. It stands in the
// statement, so a chat that is deleted and made again by another tenant is never met; and its value comes from the context, so no call can
// forget it. Without a tenant it holds for all. An expression keeps the planner from the index of tenants: the id is unique.
const visible = `@tenant_only::text in ('', c.tenant || '')`

// visibleEach is visible for the calls of different callers that share a transaction, each a row called k. Calls of owners have no tenants.
const visibleEach = `coalesce((@tenants::text[])[k.place::int], '') in ('', c.tenant || '')`

// leases are the leases of one or more calls as rows called l.
const leases = `unnest(@numbers::bigint[], @epochs::bigint[], @workers::text[], @turns::int[], @steps::int[])
    with ordinality l (number, epoch, worker, turn, step, place)`

// guarded are the values of guard and leases.
func guarded(t chat.Transition, all ...chat.Lease) args {
	n := len(all)
	numbers, epochs, workers, turns, steps := make([]int64, n), make([]int64, n), make([]string, n), make([]int32, n), make([]int32, n)
	for i, l := range all {
		numbers[i], epochs[i], workers[i], turns[i], steps[i] = int64(l.Number), l.Epoch, string(l.Worker), int32(l.Turn), int32(l.Step)
	}
	return args{"numbers": numbers, "epochs": epochs, "workers": workers, "turns": turns, "steps": steps, "from": from(t)}
}

// Parts of the set list of an update of chats.
const (
	// changing is in every transition.
	changing = `version = c.version + 1, updated_at = now()`
	// anew gives a turn its budgets.
	anew = `attempts = 0, retry_at = null, takeovers = 0, recoveries = 0, interrupt_turn = 0`
	// waking makes the chat pending.
	waking = `status = 'pending', worker_id = null, claimed_at = null, idle_at = null, dispatches = 0, dispatch_at = now() + @redispatch::interval`
)

// lockSQL is the first statement of every transition that reads messages or the queue. A statement that waited for a row would
// see other tables as they were before the wait; the statements after this one don't wait and see what is. Rows are locked in the order of
// ids by everybody, so that nobody waits in a circle.
const lockSQL = `
select k.place, c.status
from unnest(@chats::text[]) with ordinality k (chat, place) join processor.chats c on c.id = k.chat and ` + visibleEach + `
order by c.id for update of c`

// lockRowSQL is lockSQL for one chat whose row is the answer when nothing changes.
const lockRowSQL = `
select ` + chatColumns + ` from processor.chats c where c.id = @chat and ` + visible + ` for update`

// lock queues lockRowSQL and keeps the row as it was.
func (w *written) lock(b *batch, a args) {
	b.query(lockRowSQL, a, func(rows pgx.Rows) error { return w.readChat(rows) })
}
