package chat

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// maxToolOutput bounds what one tool may say, in bytes.
const maxToolOutput = 256 << 10

// runTools answers the tool calls that the open turn leaves unanswered, and commits the results as one step.
func (r *run) runTools() (on, again bool) {
	if err := r.ready(); err != nil {
		return r.ended(err, nil, Partial{})
	}
	calls := Unanswered(openTurn(r.chat, r.history))
	results := make([]Part, len(calls))
	for i, call := range calls {
		out, err := r.runTool(call)
		if r.ctx.Err() != nil {
			return r.ended(context.Cause(r.ctx), nil, Partial{})
		}
		results[i] = Part{Type: ToolResultPart, CallID: call.CallID, Name: call.Name, Text: Clean(out)}
		if err != nil {
			results[i].Text, results[i].Failed = Clean(err.Error()), true
		}
		results[i].Text, _, _ = cut(results[i].Text, maxToolOutput)
	}
	return r.commit([]Message{{Role: Tool, Parts: results}})
}

// runTool has its own outer limit around the tool's code, which may not look at its context: what a tool does after that is its own affair,
// its result is not waited for.
func (r *run) runTool(call Part) (string, error) {
	var tool *ToolFunc
	for i := range r.p.config.Tools {
		if r.p.config.Tools[i].Name == call.Name {
			tool = &r.p.config.Tools[i]
		}
	}
	if tool == nil {
		return "", fmt.Errorf("there is no tool %q", call.Name)
	}
	limit := tool.Timeout
	if limit <= 0 {
		limit = 30 * time.Second
	}
	ctx, cancel := context.WithTimeout(r.ctx, limit)
	defer cancel()
	type result struct {
		out string
		err error
	}
	done := make(chan result, 1)
	go func() {
		defer func() {
			if v := recover(); v != nil {
				done <- result{err: errors.New("the tool failed")}
			}
		}()
		out, err := tool.Call(ctx, call.Input)
		done <- result{out, err}
	}()
	select {
	case res := <-done:
		return res.out, res.err
	case <-ctx.Done():
		return "", fmt.Errorf("the tool did not answer within %s", limit)
	}
}
