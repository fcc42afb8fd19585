package store

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype/zeronull"

	"processor/internal/chat"
)

// chatColumns are read from a row, or from a row returned by a statement before, that is called c.
const chatColumns = chatFacts + `, c.metadata, c.system`

// chatFacts are chatColumns without what may be long.
const chatFacts = `c.number, c.id, c.tenant, c.title, c.model, c.status, c.version, c.turn, c.step, c.epoch, c.void_epoch, c.worker_id, c.claimed_at,
  c.attempts, c.retry_at, c.takeovers, c.recoveries, c.interrupt_turn, c.queued, c.last_error, c.created_at, c.updated_at`

// chatTargets are where chatColumns are scanned to.
func chatTargets(c *chat.Chat) []any {
	return []any{
		&c.Number, &c.ID, &c.Tenant, &c.Title, &c.Model, &c.Status, &c.Version, &c.Turn, &c.Step, &c.Epoch, &c.Void, &c.Worker, &c.ClaimedAt,
		&c.Attempts, &c.RetryAt, &c.Takeovers, &c.Recoveries, &c.InterruptTurn, &c.Queued, &c.LastError, &c.CreatedAt, &c.UpdatedAt,
		(*[]byte)(&c.Metadata), &c.System,
	}
}

// messageColumns are read from a row called m. It may be all null, which is no message.
const messageColumns = `m.id, m.turn, m.step, m.epoch, m.role, m.parts, m.chunks, m.model, m.params, m.usage, m.finish, m.error,
  m.client_id, m.created_at`

// ownColumns are messageColumns of an insert, without what the caller knows: it just sent that.
const ownColumns = `m.id, m.turn, m.step, m.epoch, m.role, case when m.role = 'user' then m.parts end as parts, null::bytea as chunks, m.model,
    case when m.role = 'user' then m.params end as params, null::jsonb as usage, m.finish, m.error, m.client_id, m.created_at`

// messageRow is where messageColumns are scanned to.
type messageRow struct {
	message        chat.Message
	turn, step     zeronull.Int4
	parts, chunks  []byte
	params         []byte
	usage, failure []byte
	createdAt      zeronull.Timestamptz
}

func (r *messageRow) targets() []any {
	m := &r.message
	return []any{
		&m.ID, &r.turn, &r.step, (*zeronull.Int8)(&m.Epoch), (*zeronull.Text)(&m.Role), &r.parts, &r.chunks, (*zeronull.Text)(&m.Model),
		&r.params, &r.usage, (*zeronull.Text)(&m.Finish), &r.failure, (*zeronull.Text)(&m.ClientID), &r.createdAt,
	}
}

// read completes the message after its row was scanned.
func (r *messageRow) read(id chat.ID) (chat.Message, error) {
	m := r.message
	m.Chat, m.Turn, m.Step, m.CreatedAt, m.Params = id, int(r.turn), int(r.step), time.Time(r.createdAt), r.params
	var errs [3]error
	m.Parts, errs[0] = chat.DecodeParts(r.parts)
	m.Usage, errs[1] = chat.DecodeUsage(r.usage)
	errs[2] = decode(r.failure, &m.Error)
	if err := errors.Join(errs[:]...); err != nil {
		return m, fmt.Errorf("read a stored message: %w", err)
	}
	var err error
	m.Chunks, err = readChunks(r.chunks)
	return m, err
}

// decode leaves what is null as it is.
func decode(raw []byte, to any) error {
	if raw == nil {
		return nil
	}
	return json.Unmarshal(raw, to)
}

// readMessages takes rows of leading columns and messageColumns.
func readMessages(rows pgx.Rows, leading []any, to func(*messageRow) error) error {
	for rows.Next() {
		var r messageRow
		if err := rows.Scan(slices.Concat(leading, r.targets())...); err != nil {
			return err
		}
		if err := to(&r); err != nil {
			return err
		}
	}
	return rows.Err()
}

// written is what a transition's statement returned: the row, and the messages that entered history.
type written struct {
	found    bool
	chat     chat.Chat
	messages []chat.Message
}

// add takes one row of chatColumns and messageColumns; all null is a row of the chat alone.
func (w *written) add(c chat.Chat, r *messageRow) error {
	if !w.found {
		w.found, w.chat = true, c // the first row has it all
	}
	if r.message.ID == nil && r.createdAt == (zeronull.Timestamptz{}) {
		return nil
	}
	m, err := r.read(c.ID)
	w.messages = append(w.messages, m)
	return err
}

// read takes rows of chatColumns and messageColumns. It starts from nothing, because a batch that the server undid is read twice.
func (w *written) read(rows pgx.Rows) error {
	*w = written{}
	return readWritten(rows, nil, func() *written { return w })
}

// readWritten takes rows of leading columns, chatColumns and messageColumns; to says where a row belongs, after leading was scanned.
func readWritten(rows pgx.Rows, leading []any, to func() *written) error {
	for rows.Next() {
		var c chat.Chat
		var r messageRow
		if err := rows.Scan(slices.Concat(leading, chatTargets(&c), r.targets())...); err != nil {
			return err
		}
		if err := to().add(c, &r); err != nil {
			return err
		}
	}
	return rows.Err()
}

// readChat takes at most one row of extra columns and chatColumns.
func (w *written) readChat(rows pgx.Rows, extra ...any) error {
	*w = written{}
	for rows.Next() {
		w.found = true
		if err := rows.Scan(slices.Concat(extra, chatTargets(&w.chat))...); err != nil {
			return err
		}
	}
	return rows.Err()
}

// outcome is the transition's, with the content of the caller's own messages, which were not sent back.
func (w *written) outcome(from chat.Status, own []chat.Message) chat.Outcome {
	next := 0
	for i := range w.messages {
		if m := &w.messages[i]; m.Parts == nil && next < len(own) {
			m.Parts, m.Chunks, m.Params, m.Usage = notNil(own[next].Parts), own[next].Chunks, own[next].Params, own[next].Usage
			next++
		}
	}
	return chat.Outcome{Changed: true, Chat: w.chat, Messages: w.messages, From: from}
}

func notNil(parts []chat.Part) []chat.Part {
	if parts == nil {
		return []chat.Part{}
	}
	return parts
}

// appendChunks writes the lengths of a message's deltas; readChunks reads them.
func appendChunks(chunks []int32) []byte {
	var b []byte
	for _, n := range chunks {
		b = binary.AppendUvarint(b, uint64(uint32(n)))
	}
	return b
}

func readChunks(b []byte) ([]int32, error) {
	var chunks []int32
	for len(b) > 0 {
		n, width := binary.Uvarint(b)
		if width <= 0 {
			return nil, errors.New("read a stored message: its chunks are broken")
		}
		chunks, b = append(chunks, int32(uint32(n))), b[width:]
	}
	return chunks, nil
}

// collect is pgx.CollectRows, but that nothing is nil.
func collect[T any](rows pgx.Rows, read pgx.RowToFunc[T]) ([]T, error) {
	all, err := pgx.CollectRows(rows, read)
	if len(all) == 0 {
		return nil, err
	}
	return all, err
}
