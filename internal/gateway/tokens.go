package gateway

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"processor/internal/chat"
)

// Token lets whoever brings it in: to all chats, or to those of one tenant.
type Token struct {
	Tenant string
	Secret string
}

// tokenPattern is what may stand behind Bearer; an equals sign comes at the end only, so that of tenant=token can't be part of it.
var tokenPattern = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)

// ParseToken reads TOKEN or TENANT=TOKEN. Its errors don't repeat it.
func ParseToken(text string) (Token, error) {
	t := Token{Secret: text}
	if tenant, secret, ok := strings.Cut(text, "="); ok && strings.Trim(secret, "=") != "" {
		t = Token{Tenant: tenant, Secret: secret}
		if err := chat.CheckID("tenant", tenant); err != nil {
			return Token{}, errors.New("the tenant before a token must be 1 to 64 of A-Z a-z 0-9 _ -")
		}
	}
	if !tokenPattern.MatchString(t.Secret) {
		return Token{}, errors.New("a token must be letters, digits and -._~+/, with = at its end only; make one with: openssl rand -base64 24")
	}
	return t, nil
}

// String hides the secret from logs.
func (t Token) String() string { return t.Tenant + "=…" }

// tokens keeps digests: comparing those takes the same time whatever was guessed, its length included.
type tokens []struct {
	digest [sha256.Size]byte
	tenant string
}

func newTokens(all []Token) tokens {
	list := make(tokens, len(all))
	for i, t := range all {
		list[i].digest, list[i].tenant = sha256.Sum256([]byte(t.Secret)), t.Tenant
	}
	return list
}

// find returns what the request's token allows, and a name for it that is not the token. It looks at all of them, found or not.
func (t tokens) find(r *http.Request) (tenant, name string, ok bool) {
	scheme, secret, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	digest := sha256.Sum256([]byte(strings.TrimSpace(secret)))
	at := -1
	for i := range t {
		if subtle.ConstantTimeCompare(digest[:], t[i].digest[:]) == 1 {
			at = i
		}
	}
	if at < 0 || !strings.EqualFold(scheme, "Bearer") {
		return "", "", false
	}
	return t[at].tenant, strconv.Itoa(at), true
}
