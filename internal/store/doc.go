// Package store is Postgres, the truth (I1).
package store
