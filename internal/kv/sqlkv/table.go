package sqlkv

import (
	"fmt"
	"strings"

	"github.com/semio-iot/semio/internal/kv"
)

// Table names a table. [ParseTable] makes one; the zero value is none.
type Table struct{ schema, name string }

// maxIdentifier is PostgreSQL's: what is longer it cuts off silently, and two names may then be one.
const maxIdentifier = 63

// ParseTable reads "name" or "schema.name". A name consists of a-z, 0-9 and _, does not begin with a digit and has at most 63 bytes,
// so that it means the same with quotes and without.
func ParseTable(s string) (Table, error) {
	schema, name, both := strings.Cut(s, ".")
	if !both {
		schema, name = "", s
	}
	if !isIdentifier(name) || both && !isIdentifier(schema) {
		return Table{}, fmt.Errorf("%w: %q, want \"name\" or \"schema.name\" of a-z, 0-9 and _, each at most %d bytes and not beginning with a digit",
			ErrTableName, s, maxIdentifier)
	}
	return Table{schema, name}, nil
}

func isIdentifier(s string) bool {
	for i, c := range []byte(s) {
		if !(c >= 'a' && c <= 'z' || c == '_' || i > 0 && c >= '0' && c <= '9') {
			return false
		}
	}
	return len(s) > 0 && len(s) <= maxIdentifier
}

// String returns the name as SQL wants it, quoted.
func (t Table) String() string {
	if t.schema != "" {
		return `"` + t.schema + `"."` + t.name + `"`
	}
	return `"` + t.name + `"`
}

// layout names the columns and their meaning, and what DDL makes. The row under the empty key, which no store takes, says
// layout and content: a database that somebody restored or copied is recognised by the table itself.
const layout = "table 1"

func marker(content string) string { return layout + ", " + content }

// DDL returns the statements that make the table, separated by ";\n", for whoever creates tables in this database. content names what
// the table holds and its version, as in [Options].
func DDL(t Table, content string) string { return strings.Join(ddl(t, content), ";\n") + ";\n" }

func ddl(t Table, content string) []string {
	return []string{
		fmt.Sprintf(`CREATE TABLE %s (
	k bytea PRIMARY KEY CHECK (octet_length(k) <= %d),
	v bytea NOT NULL CHECK (octet_length(v) <= %d)
)`, t, kv.MaxKey, kv.MaxValue),
		fmt.Sprintf(`INSERT INTO %s (k, v) VALUES ('', '%s')`, t, strings.ReplaceAll(marker(content), "'", "''")),
	}
}

// statements are what a store says to its table. $n are the parameters of PostgreSQL's own protocol.
type statements struct{ marker, get, put, del, page, alone string }

func statementsFor(t Table) statements {
	name := t.String()
	return statements{
		marker: `SELECT v, current_setting('synchronous_commit') FROM ` + name + ` WHERE k = ''`,
		get:    `SELECT v FROM ` + name + ` WHERE k = $1`,
		put:    `INSERT INTO ` + name + ` (k, v) VALUES ($1, $2) ON CONFLICT (k) DO UPDATE SET v = EXCLUDED.v`,
		del:    `DELETE FROM ` + name + ` WHERE k = $1`,
		// At most $3 rows, and none after $4 bytes of values: a row limit alone would let 4 MiB values add up.
		page: `SELECT k, v FROM (
	SELECT k, v, sum(octet_length(v)) OVER (ORDER BY k) - octet_length(v) AS before
	FROM (SELECT k, v FROM ` + name + ` WHERE k >= $1 AND k < $2 ORDER BY k LIMIT $3) AS rows
) AS sized WHERE before < $4 ORDER BY k`,
		alone: `LOCK TABLE ` + name + ` IN SHARE ROW EXCLUSIVE MODE`,
	}
}
