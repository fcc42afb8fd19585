package chattest

import (
	"errors"
	"fmt"
	"sync"

	"processor/internal/chat"
)

// racing are the rules that hold because a transition locks the chat's row before it looks at anything else.
func racing() []rule {
	return []rule{
		{"of many claims at once one wins", func(k *kit) {
			k.register("w")
			k.start("a")
			won := k.together(8, func(int) (bool, error) {
				_, err := k.s.Claim(k.ctx, "a", "w", false, roomy())
				return err == nil, except(err, chat.ErrNothingToDo)
			})
			k.equal("claims that won", won, 1)
			k.row("a", state{Status: chat.Running, Turn: 1, Epoch: 1, Worker: "w"})
		}},
		{"one client_id sent many times at once is accepted once", func(k *kit) {
			k.register("w")
			k.own("a", "w")
			won := k.together(8, func(int) (bool, error) {
				sent, err := k.s.Send(k.ctx, message("a", "second"), nil)
				return !sent.Duplicate, err
			})
			k.equal("accepted", won, 1)
			k.row("a", state{Status: chat.Running, Turn: 1, Epoch: 1, Worker: "w", Queued: 1})
		}},
		{"one creation sent many times at once makes one chat", func(k *kit) {
			won := k.together(8, func(i int) (bool, error) {
				sent, err := k.s.Create(k.ctx, generated("hello", fmt.Sprint("id ", i)))
				return !sent.Duplicate, err
			})
			k.equal("created", won, 1)
			k.says("a", "1.0@0 user hello")
		}},
	}
}

func sendingTogether() []rule {
	return []rule{
		{"messages sent to an idle chat at once open one turn, and the others wait", func(k *kit) {
			k.register("w")
			k.finish(k.own("a", "w"), "hi")
			opened := k.together(8, func(i int) (bool, error) {
				sent, err := k.s.Send(k.ctx, message("a", fmt.Sprint("message ", i)), nil)
				return !sent.Queued, err
			})
			k.equal("turns opened", opened, 1)
			k.row("a", state{Status: chat.Pending, Turn: 2, Epoch: 1, Queued: 7})
		}},
		{"no message is left behind by a turn that ends while it is sent", func(k *kit) {
			k.register("w")
			k.start("a")
			k.together(8, func(i int) (bool, error) {
				if i == 0 {
					return true, k.serve("a", "w", 20)
				}
				_, err := k.s.Send(k.ctx, message("a", fmt.Sprint("message ", i)), nil)
				return true, err
			})
			k.ok(k.serve("a", "w", 10))
			k.row("a", state{Status: chat.Waiting, Turn: 8, Step: 1, Epoch: k.rows().Chats[0].Chat.Epoch})
		}},
		{"an interrupt and a finish at once leave one outcome", func(k *kit) {
			k.register("w")
			for i := range 5 {
				id := chat.ID(fmt.Sprint("c", i))
				l := k.own(id, "w")
				k.together(2, func(i int) (bool, error) {
					if i == 0 {
						_, err := k.s.Interrupt(k.ctx, id, 1, nil)
						return true, err
					}
					_, err := k.s.Finish(k.ctx, l, final("hi"))
					return true, err
				})
				k.row(id, state{Status: chat.Waiting, Turn: 1, Step: 1, Epoch: 1})
			}
		}},
	}
}

func sweepingTogether() []rule {
	return []rule{
		{"many sweeps at once recover a chat once", func(k *kit) {
			k.register("w")
			for i := range 5 {
				k.own(chat.ID(fmt.Sprint("c", i)), "w")
			}
			k.ok(k.s.Unregister(k.ctx, "w"))
			var mu sync.Mutex
			recovered := 0
			k.together(4, func(int) (bool, error) {
				r, err := k.s.Sweep(k.ctx, pass())
				mu.Lock()
				defer mu.Unlock()
				recovered += len(r.Recovered)
				return true, err
			})
			k.equal("recovered", recovered, 5)
		}},
		{"a release, a sweep and the owner's own writes at once give each chat back once", func(k *kit) {
			k.register("w", "x")
			var leases []chat.Lease
			for i := range 6 {
				leases = append(leases, k.own(chat.ID(fmt.Sprint("c", i)), "w"))
			}
			k.ok(k.s.Unregister(k.ctx, "w"))
			k.together(8, func(i int) (bool, error) {
				switch i {
				case 6:
					_, err := k.s.Release(k.ctx, "w")
					return true, err
				case 7:
					_, err := k.s.Sweep(k.ctx, pass())
					return true, err
				}
				_, err := k.s.Yield(k.ctx, leases[i])
				return true, except(err, chat.ErrFenced)
			})
			k.sweep(pass())
			for _, c := range k.rows().Chats {
				k.equal("status and epoch", []any{c.Chat.Status, c.Chat.Epoch}, []any{chat.Pending, int64(2)})
			}
			k.sound()
		}},
	}
}

// together runs do n times at once and counts what it said yes to.
func (k *kit) together(n int, do func(i int) (bool, error)) int {
	k.t.Helper()
	yes, errs := make([]bool, n), make([]error, n)
	var running sync.WaitGroup
	for i := range n {
		running.Go(func() { yes[i], errs[i] = do(i) })
	}
	running.Wait()
	k.ok(errors.Join(errs...))
	count := 0
	for _, y := range yes {
		if y {
			count++
		}
	}
	return count
}

// except forgives the one refusal that the slower ones of a race get.
func except(err, sentinel error) error {
	if errors.Is(err, sentinel) {
		return nil
	}
	return err
}

// serve answers up to turns turns of a chat, as its owner, until it is idle.
func (k *kit) serve(id chat.ID, w chat.WorkerID, turns int) error {
	c, err := k.s.Claim(k.ctx, id, w, true, roomy())
	if err != nil {
		return except(err, chat.ErrNothingToDo)
	}
	for row := c.Chat; row.Status == chat.Running && turns > 0; turns-- {
		out, err := k.s.Finish(k.ctx, leaseOf(row, w), final("hi"))
		if err != nil {
			return err
		}
		row = out.Chat
	}
	return nil
}
