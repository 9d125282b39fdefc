package schemas

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/twmb/avro"
)

// history returns every version of the record's schema, the first one first.
func history(t *testing.T, record string) []string {
	t.Helper()
	files, err := filepath.Glob("history/" + record + "/*")
	if err != nil || len(files) == 0 {
		t.Fatalf("no history of %s, error %v: cp schemas/avsc/%[1]s.avsc schemas/history/%[1]s/1.avsc", record, err)
	}
	var versions []string
	for i := range files {
		text, err := os.ReadFile(fmt.Sprintf("history/%s/%d.avsc", record, i+1))
		if err != nil {
			t.Fatalf("versions of %s are not numbered 1 to %d: %v", record, len(files), err)
		}
		versions = append(versions, string(text))
	}
	return versions
}

func TestHistoryIsComplete(t *testing.T) {
	everyRecord(t, func(t *testing.T, r *Record) {
		versions := history(t, r.Name)
		if n := len(versions); versions[n-1] != r.Avsc {
			t.Errorf("%[1]s.avsc is not the newest of its history. If the change is meant, keep it as a new version:\n"+
				"cp schemas/avsc/%[1]s.avsc schemas/history/%[1]s/%[2]d.avsc && go test ./schemas -run Golden -update", r.Name, n+1)
		}
	})
	dirs, err := filepath.Glob("history/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		if _, ok := Find(filepath.Base(d)); !ok {
			t.Errorf("%s is not in the catalogue any more, but its records are on the log for good", d)
		}
	}
}

// Every version reads every other one: an older build runs beside this one while
// it is rolled out, and the log keeps what was written first.
func TestEveryVersionIsCompatibleWithEveryOther(t *testing.T) {
	everyRecord(t, func(t *testing.T, r *Record) {
		versions := history(t, r.Name)
		for j := range versions {
			for i := range j {
				if err := compatible(versions[i], versions[j]); err != nil {
					t.Errorf("versions %d and %d: %v", i+1, j+1, err)
				}
			}
		}
	})
}

// compatible returns why one of two versions cannot stand in for the other. It
// is stricter than Avro's schema resolution, which reads a string as bytes, a
// record of another namespace, a number of another meaning, and a member left
// out of a JSON command as whatever the default is today.
func compatible(older, newer string) error {
	o, err := avro.Parse(older)
	if err != nil {
		return fmt.Errorf("older: %w", err)
	}
	n, err := avro.Parse(newer)
	if err != nil {
		return fmt.Errorf("newer: %w", err)
	}
	if err := avro.CheckCompatibility(o, n); err != nil {
		return fmt.Errorf("newer cannot read older: %w", err)
	}
	if err := avro.CheckCompatibility(n, o); err != nil {
		return fmt.Errorf("older cannot read newer: %w", err)
	}
	return sameMeaning("", o.Root().ExpandReferences(), n.Root().ExpandReferences())
}

func sameMeaning(path string, o, n *avro.SchemaNode) error {
	if o.Type != n.Type || o.LogicalType != n.LogicalType {
		return fmt.Errorf("%s: %s %s became %s %s", path, o.Type, o.LogicalType, n.Type, n.LogicalType)
	}
	if fullName(o) != fullName(n) {
		return fmt.Errorf("%s: %s became %s", path, fullName(o), fullName(n))
	}
	switch o.Type {
	case "array":
		return sameMeaning(path+"[]", o.Items, n.Items)
	case "map":
		return sameMeaning(path+"{}", o.Values, n.Values)
	case "enum":
		if o.HasEnumDefault && o.EnumDefault != n.EnumDefault {
			return fmt.Errorf("%s: default %s became %s", path, o.EnumDefault, n.EnumDefault)
		}
	case "union":
		if len(o.Branches) != len(n.Branches) {
			return fmt.Errorf("%s: %d branches became %d", path, len(o.Branches), len(n.Branches))
		}
		for i := range o.Branches {
			if err := sameMeaning(path+"|", &o.Branches[i], &n.Branches[i]); err != nil {
				return err
			}
		}
	}
	for _, of := range o.Fields {
		for _, nf := range n.Fields {
			if of.Name != nf.Name {
				continue
			}
			at := strings.TrimPrefix(path+"."+of.Name, ".")
			if of.HasDefault && !reflect.DeepEqual(of.Default, nf.Default) {
				return fmt.Errorf("%s: default %#v became %#v", at, of.Default, nf.Default)
			}
			if err := sameMeaning(at, &of.Type, &nf.Type); err != nil {
				return err
			}
		}
	}
	return nil
}

// The checker lets through what is harmless and refuses everything else: each
// row is one edit of this schema.
func TestCompatibleRefuses(t *testing.T) {
	const base = `{"type":"record","name":"A","namespace":"orderlog","fields":[
		{"name":"id","type":"string"},
		{"name":"n","type":"long"},
		{"name":"opt","type":"string","default":"none"},
		{"name":"hash","type":{"type":"fixed","name":"H","size":16}},
		{"name":"state","type":{"type":"enum","name":"S","symbols":["ON","OFF"]}},
		{"name":"soft","type":{"type":"enum","name":"E","symbols":["X","Y"],"default":"X"}},
		{"name":"items","type":{"type":"array","items":{"type":"record","name":"I","fields":[{"name":"k","type":"long"}]}}},
		{"name":"m","type":{"type":"map","values":"long"}},
		{"name":"u","type":["null","string"],"default":null}]}`
	for _, c := range []struct {
		name, old, new string
		ok             bool
	}{
		{"nothing", ``, ``, true},
		{"a doc", `"name":"n",`, `"name":"n","doc":"number",`, true},
		{"a new field with a default", `{"name":"n",`, `{"name":"x","type":"long","default":0},{"name":"n",`, true},
		{"a field with a default removed", `{"name":"opt","type":"string","default":"none"},`, ``, true},
		{"a default for a field", `{"name":"n","type":"long"`, `{"name":"n","type":"long","default":0`, true},
		{"a symbol where the enum has a default", `["X","Y"]`, `["X","Y","Z"]`, true},

		{"a new field without a default", `{"name":"n",`, `{"name":"x","type":"long"},{"name":"n",`, false},
		{"a field without a default removed", `{"name":"n","type":"long"},`, ``, false},
		{"a field renamed", `"name":"n",`, `"name":"number",`, false},
		{"a field renamed with an alias", `"name":"n",`, `"name":"number","aliases":["n"],`, false},
		{"record renamed", `"name":"A"`, `"name":"B"`, false},
		{"record renamed with an alias", `"name":"A"`, `"name":"B","aliases":["A"]`, false},
		{"namespace changed", `"namespace":"orderlog"`, `"namespace":"shop"`, false},
		{"inner record renamed", `"name":"I"`, `"name":"J"`, false},
		{"narrower", `"name":"n","type":"long"`, `"name":"n","type":"int"`, false},
		{"wider", `"name":"n","type":"long"`, `"name":"n","type":"double"`, false},
		{"text for a number", `"name":"n","type":"long"`, `"name":"n","type":"string"`, false},
		{"bytes for text", `"name":"id","type":"string"`, `"name":"id","type":"bytes"`, false},
		{"optional", `"name":"id","type":"string"`, `"name":"id","type":["null","string"]`, false},
		{"another meaning", `"name":"n","type":"long"`, `"name":"n","type":{"type":"long","logicalType":"timestamp-millis"}`, false},
		{"another size", `"size":16`, `"size":32`, false},
		{"fixed renamed", `"name":"H"`, `"name":"G"`, false},
		{"symbol removed", `["ON","OFF"]`, `["ON"]`, false},
		{"symbol added", `["ON","OFF"]`, `["ON","OFF","HALF"]`, false},
		{"default of the enum changed", `"symbols":["X","Y"],"default":"X"`, `"symbols":["X","Y"],"default":"Y"`, false},
		{"default changed", `"default":"none"`, `"default":""`, false},
		{"default removed", `,"default":"none"`, ``, false},
		{"item's field removed", `{"name":"k","type":"long"}`, ``, false},
		{"item's field of another type", `{"name":"k","type":"long"}`, `{"name":"k","type":"string"}`, false},
		{"an array for a map", `{"type":"map","values":"long"}`, `{"type":"array","items":"long"}`, false},
		{"map of another type", `"values":"long"`, `"values":"int"`, false},
		{"map of bytes", `"values":"long"`, `"values":"string"`, false},
		{"union branch removed", `["null","string"]`, `["null"]`, false},
		{"union branches swapped", `["null","string"],"default":null`, `["string","null"],"default":null`, false},
		{"union branch of bytes", `["null","string"]`, `["null","bytes"]`, false},
	} {
		if !strings.Contains(base, c.old) {
			t.Fatalf("%s: nothing to replace", c.name)
		}
		edited := strings.Replace(base, c.old, c.new, 1)
		if err := compatible(base, edited); (err == nil) != c.ok {
			t.Errorf("%s: error %v", c.name, err)
		}
		// What may be done may be undone and the reverse, except that a default
		// may be given and not be taken back.
		undo := c.ok != (c.name == "a default for a field" || c.name == "default removed")
		if err := compatible(edited, base); (err == nil) != undo {
			t.Errorf("undoing %s: error %v", c.name, err)
		}
	}
}

// Amounts, IDs, times, flags and other records are all that stands in a record: nothing whose
// evolution or Go form needs thought.
func TestSchemasAreSimple(t *testing.T) {
	everyRecord(t, func(t *testing.T, r *Record) {
		var walk func(path string, n *avro.SchemaNode)
		walk = func(path string, n *avro.SchemaNode) {
			switch n.Type {
			case "string", "long", "boolean", "bytes", "fixed":
			case "array":
				walk(path+"[]", n.Items)
			case "record":
				for i := range n.Fields {
					walk(path+"."+n.Fields[i].Name, &n.Fields[i].Type)
				}
			default:
				t.Errorf("%s is a %s", path, n.Type)
			}
			if n.LogicalType != "" || len(n.Aliases) > 0 {
				t.Errorf("%s: logical type %q, aliases %v", path, n.LogicalType, n.Aliases)
			}
		}
		walk(r.Name, r.tree)
	})
}
