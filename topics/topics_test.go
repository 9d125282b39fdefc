package topics

import (
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"slices"
	"strconv"
	"testing"
)

// constants returns the values of the string constants of topics.go.
func constants(t *testing.T) (values []string) {
	f, err := parser.ParseFile(token.NewFileSet(), "topics.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		for _, v := range spec.Values {
			if lit, ok := v.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				s, err := strconv.Unquote(lit.Value)
				if err != nil {
					t.Fatal(err)
				}
				values = append(values, s)
			}
		}
		return true
	})
	return values
}

func TestEveryConstantIsOneTopic(t *testing.T) {
	names := constants(t)
	if len(names) < 10 {
		t.Fatalf("only %d constants found", len(names))
	}
	var listed []string
	for _, top := range All() {
		listed = append(listed, top.Name)
	}
	slices.Sort(names)
	slices.Sort(listed)
	if !slices.Equal(names, listed) {
		t.Errorf("constants %v\ncatalogue %v", names, listed)
	}
	if n := len(slices.Compact(listed)); n != len(names) {
		t.Errorf("%d different names of %d", n, len(names))
	}
}

func TestCatalogueIsSound(t *testing.T) {
	legal := regexp.MustCompile(`^[a-z][a-z0-9-]*$`)
	for _, top := range All() {
		if !legal.MatchString(top.Name) {
			t.Errorf("%q: not a name that needs no quoting anywhere", top.Name)
		}
		if top.Key == "" || top.WrittenBy == "" {
			t.Errorf("%s: key %q, written by %q", top.Name, top.Key, top.WrittenBy)
		}
		if top.Compact && (top.Retention != 0 || top.External) {
			t.Errorf("%s is compacted: retention %v, external %v; rows are written by one processor and kept", top.Name, top.Retention, top.External)
		}
		if !top.Compact && (top.Retention == 0 || top.Retention < Forever || top.MinLag != 0) {
			t.Errorf("%s is deleted: retention %v, compaction lag %v", top.Name, top.Retention, top.MinLag)
		}
		if (len(top.Records) == 0) != (top.Key == "original key") {
			t.Errorf("%s, keyed by %s: records %v", top.Name, top.Key, top.Records)
		}
		if n := len(slices.Compact(slices.Sorted(slices.Values(top.Records)))); n != len(top.Records) {
			t.Errorf("%s: a record is listed twice: %v", top.Name, top.Records)
		}
	}
}

// The log is what everything is recomputed from: neither it nor what came from
// outside and is truth too may be deleted by age, nor be compacted before every
// reader has had a week.
func TestTruthIsKept(t *testing.T) {
	for _, name := range []string{InventoryCommands, CreditCommands} {
		if top, ok := Find(name); !ok || top.Compact || top.Retention != Forever {
			t.Errorf("%s: %+v", name, top)
		}
	}
	if log, ok := Find(OrderTable); !ok || !log.Compact || log.MinLag != 7*day {
		t.Errorf("order log: %+v", log)
	}
}

func TestAllIsACopy(t *testing.T) {
	a := All()
	a[0].Name, a[0].Records[0] = "changed", "changed"
	if b := All(); b[0].Name != OrderCommands || b[0].Records[0] != "PlaceOrder" {
		t.Errorf("a caller changed the catalogue: %+v", b[0])
	}
}

func TestFind(t *testing.T) {
	for _, want := range All() {
		if got, ok := Find(want.Name); !ok || got.Name != want.Name || got.Key != want.Key {
			t.Errorf("Find(%q) = %+v, %v", want.Name, got, ok)
		}
	}
	for _, name := range []string{"", "nowhere", "ns." + OrderTable} {
		if got, ok := Find(name); ok {
			t.Errorf("Find(%q) = %+v", name, got)
		}
	}
}

func TestPrefixed(t *testing.T) {
	for _, c := range []struct{ namespace, want string }{{"", "order-table"}, {"test", "test.order-table"}} {
		if got := Prefixed(c.namespace, OrderTable); got != c.want {
			t.Errorf("Prefixed(%q) = %q", c.namespace, got)
		}
	}
}
