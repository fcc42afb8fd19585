package chattest

import (
	"context"
	"errors"
	"fmt"

	"processor/internal/chat"
)

// asked is a move that anybody may ask for by a chat's id.
type asked struct {
	name string
	do   func(ctx context.Context, s Store, id chat.ID) error
}

func asks() []asked {
	send := func(busy chat.Busy) func(context.Context, Store, chat.ID) error {
		return func(ctx context.Context, s Store, id chat.ID) error {
			_, err := s.Send(ctx, chat.NewMessage{Chat: id, Parts: say("hello"), ClientID: "of a caller", Busy: busy}, nil)
			return err
		}
	}
	return []asked{
		{"get", func(ctx context.Context, s Store, id chat.ID) error { _, err := s.Get(ctx, id); return err }},
		{"find", func(ctx context.Context, s Store, id chat.ID) error { _, err := s.Find(ctx, id, "first"); return err }},
		{"snapshot", func(ctx context.Context, s Store, id chat.ID) error { _, err := s.Snapshot(ctx, id, 0, 10); return err }},
		{"send", send(chat.BusyQueue)},
		{"interrupting send", send(chat.BusyInterrupt)},
		{"interrupt", func(ctx context.Context, s Store, id chat.ID) error {
			_, err := s.Interrupt(ctx, id, 0, nil)
			return err
		}},
		{"append", func(ctx context.Context, s Store, id chat.ID) error {
			_, err := s.Append(ctx, id, []chat.Exchange{elsewhere("one", "two", "x")})
			if refusal := (*chat.Error)(nil); errors.As(err, &refusal) && refusal.Code == chat.Conflict { // it is busy, and so it exists
				return nil
			}
			return err
		}},
		{"fork", func(ctx context.Context, s Store, id chat.ID) error {
			m := message("fork", "hello")
			_, err := s.Fork(ctx, chat.NewFork{NewChat: chat.NewChat{ID: "fork", Tenant: chat.TenantOf(ctx), Message: &m}, From: id, Turn: 1})
			if err == nil {
				_, err = s.Delete(ctx, "fork")
			}
			if refusal := (*chat.Error)(nil); errors.As(err, &refusal) && refusal.Field != "chat" {
				return nil
			}
			return err
		}},
		{"queue", func(ctx context.Context, s Store, id chat.ID) error { _, err := s.Queue(ctx, id, "", 1); return err }},
		{"before", func(ctx context.Context, s Store, id chat.ID) error { _, err := s.Before(ctx, id, 1); return err }},
		{"forget", func(ctx context.Context, s Store, id chat.ID) error {
			err := s.Forget(ctx, id, 1)
			if refusal := (*chat.Error)(nil); errors.As(err, &refusal) && refusal.Field != "chat" {
				return nil
			}
			return err
		}},
		{"update", func(ctx context.Context, s Store, id chat.ID) error {
			title := "of a caller"
			_, err := s.Update(ctx, chat.Labelling{Chat: id, Title: &title})
			return err
		}},
		{"retry", func(ctx context.Context, s Store, id chat.ID) error { _, err := s.Retry(ctx, id); return err }},
		{"truncate", func(ctx context.Context, s Store, id chat.ID) error {
			all, err := s.Snapshot(chat.WithTenant(ctx, ""), id, 0, 1)
			if err != nil || len(all.Messages) == 0 {
				return err
			}
			_, err = s.Truncate(ctx, chat.Truncation{Chat: id, Message: *all.Messages[0].ID})
			return err
		}},
		{"delete", func(ctx context.Context, s Store, id chat.ID) error { _, err := s.Delete(ctx, id); return err }},
	}
}

// createFor makes a chat of a tenant that waits to be answered.
func (k *kit) createFor(tenant string, id chat.ID) error {
	_, err := k.s.Create(chat.WithTenant(k.ctx, tenant), chat.NewChat{ID: id, Tenant: tenant, Message: &chat.NewMessage{Chat: id, Parts: say("hi"), ClientID: "first"}})
	return err
}

func keepingTenantsApart() []rule {
	return []rule{
		{"a chat of another tenant, or of none, does not exist, whatever its status", func(k *kit) {
			k.register("w")
			for _, tenant := range []string{"t", ""} {
				for _, id := range []chat.ID{"waiting", "pending", "running", "parked"} {
					k.ok(k.createFor(tenant, id+chat.ID(tenant)))
				}
				k.finish(k.claim("waiting"+chat.ID(tenant), "w"), "hi")
				k.claim("running"+chat.ID(tenant), "w")
				k.fail(k.claim("parked"+chat.ID(tenant), "w"))
			}
			k.unchanged(func() {
				for _, c := range k.rows().Chats {
					for _, call := range asks() {
						k.refused(call.do(chat.WithTenant(k.ctx, "u"), k.s, c.Chat.ID), chat.NotFound, "chat")
					}
				}
			})
		}},
		{"a chat is its tenant's, and everybody's who has none", func(k *kit) {
			for _, ctx := range []context.Context{k.ctx, chat.WithTenant(k.ctx, ""), chat.WithTenant(k.ctx, "t")} {
				k.ok(k.createFor("t", "a"))
				for _, call := range asks() {
					if err := call.do(ctx, k.s, "a"); err != nil {
						k.t.Errorf("%s: %v", call.name, err)
					}
				}
				k.equal("chats left by delete", len(k.rows().Chats), 0)
			}
		}},
		{"a tenant lists its own chats and makes no others", func(k *kit) {
			k.ok(k.createFor("t", "a"))
			k.ok(k.createFor("u", "b"))
			k.ok(k.createFor("", "c"))
			for tenant, want := range map[string]string{"": "cba", "t": "a", "u": "b"} {
				all, err := k.s.List(chat.WithTenant(k.ctx, tenant), chat.Filter{Limit: 10})
				k.ok(err)
				got := ""
				for _, c := range all {
					got += string(c.ID)
				}
				k.equal("list of tenant "+tenant, got, want)
			}
			of, err := k.s.List(chat.WithTenant(k.ctx, "t"), chat.Filter{Tenant: "u", Limit: 10})
			k.ok(err)
			k.equal("chats of another tenant", len(of), 0)
			k.unchanged(func() {
				for _, tenant := range []string{"", "u"} {
					_, err = k.s.Create(chat.WithTenant(k.ctx, "t"), chat.NewChat{ID: "d", Tenant: tenant})
					k.refused(err, chat.Invalid, "tenant")
				}
				_, err = k.s.Create(chat.WithTenant(k.ctx, "t"), chat.NewChat{ID: "b", Tenant: "t"})
				k.refused(err, chat.Conflict, "id")
			})
		}},
		{"no move reaches the chat that another tenant made under the same id meanwhile", func(k *kit) {
			moves := asks()
			for round := range 20 {
				id := chat.ID(fmt.Sprint("c", round))
				k.ok(k.createFor("t", id))
				k.together(len(moves), func(i int) (bool, error) {
					if i == 0 { // instead of get: the chat changes hands
						if _, err := k.s.Delete(chat.WithTenant(k.ctx, "t"), id); err != nil && !notFound(err) {
							return false, err
						}
						return true, k.createFor("u", id)
					}
					err := moves[i].do(chat.WithTenant(k.ctx, "t"), k.s, id)
					if notFound(err) {
						err = nil
					}
					return err == nil, err
				})
				c, ok := k.rows().Chat(id)
				if !ok {
					k.t.Fatalf("chat %s of tenant u is gone", id)
				}
				k.equal("row", []any{c.Chat.Tenant, stateOf(c.Chat)}, []any{"u", state{Status: chat.Pending, Turn: 1}})
				k.equal("transcript", lines(k.history(id)), []string{"1.0@0 user hi"})
			}
		}},
	}
}

func notFound(err error) bool {
	var refusal *chat.Error
	return errors.As(err, &refusal) && refusal.Code == chat.NotFound
}
