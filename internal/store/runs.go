package store

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/jackc/pgx/v5"

	"processor/internal/chat"
)

// given are the messages of one or more calls as rows called n: of says whose, place is their order.
const given = `unnest(@message_of::int[], @roles::text[], @finishes::text[], @parts::jsonb[], @sizes::int[], @chunks::bytea[], @models::text[],
      @params::jsonb[], @usages::jsonb[], @errors::jsonb[]) with ordinality n (of, role, finish, parts, size, chunks, model, params, usage, error, place)`

// messages adds the values of given, call by call, and returns the messages' sizes.
func (a args) messages(calls ...[]chat.Message) (sizes []int32) {
	var of []int32
	var roles, finishes, models []string
	var parts, chunks, params, usages, errs [][]byte
	for i, all := range calls {
		for _, m := range all {
			raw := encode(notNil(m.Parts))
			of, sizes, parts, chunks = append(of, int32(i+1)), append(sizes, int32(len(raw))), append(parts, raw), append(chunks, appendChunks(m.Chunks))
			roles, finishes, models = append(roles, string(m.Role)), append(finishes, string(m.Finish)), append(models, m.Model)
			params, usages, errs = append(params, m.Params), append(usages, optional(m.Usage)), append(errs, optional(m.Error))
		}
	}
	maps.Copy(a, args{
		"message_of": of, "roles": roles, "finishes": finishes, "models": models, "sizes": sizes,
		"parts": parts, "chunks": chunks, "params": params, "usages": usages, "errors": errs,
	})
	return sizes
}

// optional is null for nil.
func optional[T any](v *T) []byte {
	if v == nil {
		return nil
	}
	return encode(v)
}

const commitSQL = `
with changed as (
  update processor.chats c set ` + changing + `, step = c.step + 1, takeovers = 0, attempts = 0, retry_at = null
  from ` + leases + ` where ` + guard + `
  returning ` + chatColumns + `
), said as (
  insert into processor.messages as m (chat, turn, step, epoch, role, finish, parts, size, chunks, model, params, usage, error)
  select c.number, c.turn, c.step, c.epoch, n.role, n.finish, n.parts, n.size, n.chunks, n.model, n.params, n.usage, n.error
  from changed c, ` + given + ` order by n.place
  returning ` + ownColumns + `
)
select ` + chatColumns + `, ` + messageColumns + ` from changed c left join said m on true order by m.id`

// Commit implements chat.Runs.
func (s *Store) Commit(ctx context.Context, l chat.Lease, messages []chat.Message) (chat.Outcome, error) {
	a := guarded(chat.Commit, l)
	a.messages(messages)
	var w written
	err := s.do(ctx, "commit a step", func(b *batch) {
		b.query(commitSQL, a, w.read)
	})
	if err != nil || w.found {
		return w.outcome(chat.Running, messages), err
	}
	return s.refused(ctx, chat.Commit, l)
}

const backoffSQL = `
update processor.chats c set ` + changing + `, void_epoch = c.epoch, epoch = c.epoch + 1, attempts = c.attempts + 1, retry_at = now() + @wait::interval
from ` + leases + ` where ` + guard + ` and c.interrupt_turn <> c.turn
returning ` + chatColumns

// Backoff implements chat.Runs. The cause is for watchers; the row keeps none until the turn fails.
func (s *Store) Backoff(ctx context.Context, l chat.Lease, wait time.Duration, _ chat.TurnError) (chat.Outcome, error) {
	a := guarded(chat.Backoff, l)
	a["wait"] = wait
	return s.change(ctx, chat.Backoff, "back off", backoffSQL, l, a)
}

const yieldSQL = `
update processor.chats c set ` + changing + `, ` + waking + `, epoch = c.epoch + 1
from ` + leases + ` where ` + guard + `
returning ` + chatColumns

// Yield implements chat.Runs.
func (s *Store) Yield(ctx context.Context, l chat.Lease) (chat.Outcome, error) {
	a := guarded(chat.Yield, l)
	a["redispatch"] = s.config.Timing.RedispatchAfter
	return s.change(ctx, chat.Yield, "yield a chat", yieldSQL, l, a)
}

// change carries out a guarded update that writes no messages.
func (s *Store) change(ctx context.Context, t chat.Transition, doing string, sql string, l chat.Lease, a args) (chat.Outcome, error) {
	var w written
	err := s.do(ctx, doing, func(b *batch) {
		b.query(sql, a, func(rows pgx.Rows) error { return w.readChat(rows) })
	})
	if err != nil || w.found {
		return w.outcome(chat.Running, nil), err
	}
	return s.refused(ctx, t, l)
}

// landedSQL reads the row, and what a write under the lease left in history if it landed. The user message is of the turn that a finish opened.
const landedSQL = `
select ` + chatColumns + `, ` + messageColumns + `
from ` + leases + ` join processor.chats c on c.number = l.number left join processor.messages m on m.chat = c.number and (
  (m.turn = l.turn and m.step = l.step + 1 and m.epoch = l.epoch) or (m.turn = l.turn + 1 and m.role = 'user'))
order by m.id`

// refused says why the guard refused a write: the call had landed before and its reply was lost, and then its outcome is the first one's;
// the turn was asked to stop; or the lease is over. What the lease could write is there or not for good, so a second look is safe.
func (s *Store) refused(ctx context.Context, t chat.Transition, l chat.Lease) (chat.Outcome, error) {
	var w written
	err := s.do(ctx, "look whether a write had landed", func(b *batch) {
		b.query(landedSQL, guarded(t, l), w.read)
	})
	if err != nil {
		return chat.Outcome{}, err
	}
	row := w.chat
	switch {
	case !w.found:
		return chat.Outcome{}, fmt.Errorf("%s of %s: %w: the chat is gone", string(t), l.Chat, chat.ErrFenced)
	case t == chat.Backoff && holds(row, l, l.Epoch+1) && row.Attempts > 0:
		return chat.Outcome{Changed: true, Chat: row, From: chat.Running}, nil
	case (t == chat.Commit || t == chat.End || t == chat.Fail) && len(w.messages) > 0 && w.messages[0].Turn == l.Turn:
		return landed(t, l, w), nil
	case (t == chat.Backoff || t == chat.Fail) && holds(row, l, l.Epoch) && row.InterruptRequested():
		return chat.Outcome{}, fmt.Errorf("%s of %s: %w", string(t), l.Chat, chat.ErrInterrupted)
	}
	return chat.Outcome{}, fmt.Errorf("%s of %s: %w: it is %s", string(t), l.Chat, chat.ErrFenced, row.Status)
}

// landed is the outcome of a write that landed before: its messages, and the row as it is now.
func landed(t chat.Transition, l chat.Lease, w written) chat.Outcome {
	out := chat.Outcome{Changed: true, Chat: w.chat, From: chat.Running}
	for _, m := range w.messages {
		if m.Turn == l.Turn || t == chat.End {
			out.Messages = append(out.Messages, m)
		}
	}
	return out
}

// holds says whether the row is the lease's, but for the epoch.
func holds(c chat.Chat, l chat.Lease, epoch int64) bool {
	return c.Status == chat.Running && c.Worker != nil && *c.Worker == l.Worker && c.Epoch == epoch && c.Turn == l.Turn && c.Step == l.Step
}
