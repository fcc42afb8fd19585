package chat

// Unanswered lists the tool calls of an open turn that have no result yet. Providers refuse a history with such a call
// for ever after, so whoever ends a turn closes them.
func Unanswered(turn []Message) []Part {
	answered := map[string]bool{}
	for _, m := range turn {
		for _, p := range m.Parts {
			if p.Type == ToolResultPart {
				answered[p.CallID] = true
			}
		}
	}
	var open []Part
	for _, m := range turn {
		for _, call := range m.Calls() {
			if !answered[call.CallID] {
				open = append(open, call)
			}
		}
	}
	return open
}

// CloseCalls makes the synthetic results of the calls that turn leaves unanswered: one tool message, or none.
// The caller sets its turn, step and epoch.
func CloseCalls(turn []Message) []Message {
	open := Unanswered(turn)
	if len(open) == 0 {
		return nil
	}
	results := make([]Part, len(open))
	for i, call := range open {
		results[i] = Part{Type: ToolResultPart, CallID: call.CallID, Name: call.Name, Text: "not run: the turn ended", Failed: true}
	}
	return []Message{{Role: Tool, Parts: results}}
}
