package chat

import (
	"encoding/json"
	"math"
	"strings"
)

func (s *Service) newChat(r CreateRequest) (NewChat, error) {
	c := NewChat{ID: r.ID, Tenant: r.Tenant, Title: r.Title, Model: r.Model, System: r.System, Metadata: r.Metadata}
	var errs []error
	if c.ID == "" {
		c.ID = ID(newUUID())
	}
	errs = append(errs, CheckID("id", string(c.ID)), checkTitle(c.Title), checkModel(c.Model),
		checkText("system", c.System, MaxSystem), checkJSON("system", jsonSize(c.System), MaxSystem))
	metadata, err := checkMetadata(c.Metadata)
	c.Metadata, errs = metadata, append(errs, err)
	if c.Tenant != "" {
		errs = append(errs, CheckID("tenant", c.Tenant))
	}
	if c.Model == "" {
		c.Model = s.config.DefaultModel
	}
	if r.Message != nil {
		m, err := newMessage(SendRequest{Chat: c.ID, Text: r.Message.Text, Parts: r.Message.Parts, ClientID: r.Message.ClientID})
		errs = append(errs, err)
		c.Message = &m
	}
	return c, firstError(errs)
}

func newMessage(r SendRequest) (NewMessage, error) {
	m := NewMessage{Chat: r.Chat, Parts: r.Parts, ClientID: r.ClientID, Model: r.Model, Busy: r.Busy}
	if r.Text != nil {
		if r.Parts != nil {
			return m, Errorf(Invalid, "parts", "give text or parts, not both")
		}
		m.Parts = []Part{{Type: TextPart, Text: *r.Text}}
	}
	var err error
	if m.Params, err = storedParams(r.Params); err != nil {
		return m, err
	}
	if r.After != nil {
		if *r.After < 0 || *r.After > math.MaxInt32 || r.Busy == BusyInterrupt {
			return m, Errorf(Invalid, "after", "after must be 0 to %d, and goes with no interruption", math.MaxInt32)
		}
		m.After = r.After
	}
	switch m.Busy {
	case "":
		m.Busy = BusyQueue
	case BusyQueue, BusyInterrupt, BusyReject:
	default:
		return m, Errorf(Invalid, "busy", "busy must be queue, interrupt or reject")
	}
	if m.ClientID == "" {
		m.ClientID, m.Generated = newUUID(), true
	}
	return m, firstError([]error{CheckID("chat", string(m.Chat)), checkParts(m.Parts), checkClientID(m.ClientID), checkModel(m.Model)})
}

// storedParams makes what is stored of a turn's parameters, nothing of none.
func storedParams(given *Params) (json.RawMessage, error) {
	if given == nil {
		return nil, nil
	}
	p := *given
	client, err := checkMetadata(p.Client)
	if err != nil {
		return nil, Errorf(Invalid, "params.client", "params.client must be a JSON object of at most %d bytes, without NUL", MaxMetadata)
	}
	p.Client = client
	err = firstError([]error{
		checkText("params.instructions", p.Instructions, MaxInstructions),
		checkJSON("params.instructions", jsonSize(p.Instructions), MaxInstructions),
	})
	if err != nil {
		return nil, err
	}
	raw, err := Marshal(p)
	if err != nil {
		return nil, Errorf(Invalid, "params", "params can't be stored")
	}
	return raw, nil
}

func checkParts(parts []Part) error {
	total, asJSON := 0, 0
	for _, p := range parts {
		if p.Type != TextPart || p.CallID != "" || p.Name != "" || p.Input != nil || p.Failed {
			return Errorf(Invalid, "parts", `every part must be {"type":"text","text":…}`)
		}
		if err := checkText("text", p.Text, MaxText); err != nil {
			return err
		}
		total += len(p.Text)
		asJSON += jsonSize(p.Text)
	}
	switch {
	case total > MaxText:
		return Errorf(TooLarge, "parts", "the parts have %d bytes of text, the limit is %d", total, MaxText)
	case total == 0:
		return Errorf(Invalid, "text", "text must not be empty")
	case len(parts) > 1000:
		return Errorf(TooLarge, "parts", "there are %d parts, the limit is 1000", len(parts))
	}
	return checkJSON("text", asJSON, MaxTextJSON)
}

const maxClientID = 200

func checkClientID(id string) error {
	if len(id) > maxClientID {
		return Errorf(Invalid, "client_id", "client_id is longer than %d bytes", maxClientID)
	}
	return checkText("client_id", id, maxClientID)
}

func checkModel(model string) error {
	if model == "" {
		return nil
	}
	if err := checkText("model", model, MaxModel); err != nil {
		return err
	}
	if provider, name, ok := strings.Cut(model, "/"); !ok || provider == "" || name == "" {
		return Errorf(Invalid, "model", "model must be provider/model, such as openai/gpt-5-mini or demo/echo")
	}
	return nil
}

func checkLimit(limit int) (int, error) {
	switch {
	case limit == 0:
		return 50, nil
	case limit < 0 || limit > 200:
		return 0, Errorf(Invalid, "limit", "limit must be 1 to 200")
	}
	return limit, nil
}

func firstError(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
