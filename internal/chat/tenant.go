package chat

import "context"

type tenantKey struct{}

// WithTenant limits what is done under the context to the chats of one tenant: all others do not exist, and new ones are the tenant's. It
// travels in the context, and not in requests, so that nobody can forget to hand it on, and no caller can send it.
func WithTenant(ctx context.Context, tenant string) context.Context {
	return context.WithValue(ctx, tenantKey{}, tenant)
}

// ErrTenant makes the refusal of a creation for another tenant than the caller's.
func ErrTenant(only string) *Error {
	return Errorf(Invalid, "tenant", "tenant must be %q, or left out", only)
}

// forTenant makes the caller's tenant that of the chat.
func (r CreateRequest) forTenant(ctx context.Context) CreateRequest {
	if only := TenantOf(ctx); only != "" && r.Tenant == "" {
		r.Tenant = only
	}
	return r
}

// TenantOf is the tenant that the context is limited to, empty for none.
func TenantOf(ctx context.Context) string {
	tenant, _ := ctx.Value(tenantKey{}).(string)
	return tenant
}
