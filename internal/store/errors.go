package store

import (
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"processor/internal/chat"
)

// failure is what an error of the database means for the caller.
type failure int

const (
	// unknown: the outcome may be either; the caller may repeat the call and is told whether the first had landed.
	unknown failure = iota
	// undone: the server rolled the transaction back because of others; the same call may succeed at once.
	undone
	// refusedData: the server can't store the data; repeating changes nothing.
	refusedData
	// noSchema: the tables are missing.
	noSchema
	// taken: another transaction inserted the same key meanwhile, and nothing was done.
	taken
)

// meaning is the one place that reads a SQLSTATE.
func meaning(err error) failure {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return unknown
	}
	switch pg.Code {
	case "40001", // serialization_failure
		"40P01": // deadlock_detected
		return undone
	case "42P01", // undefined_table
		"3F000": // invalid_schema_name
		return noSchema
	case "23505": // unique_violation
		return taken
	case "23514": // check_violation
		return refusedData
	}
	if len(pg.Code) == 5 && (pg.Code[:2] == "22" || pg.Code[:2] == "54") { // data_exception, program_limit_exceeded: too large, nested too deep
		return refusedData
	}
	return unknown
}

// wrap says what was being done.
func wrap(doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case meaning(err) == refusedData:
		return fmt.Errorf("%s: %w: %w", doing, chat.ErrBadData, err)
	default:
		return fmt.Errorf("%s: %w", doing, err)
	}
}
