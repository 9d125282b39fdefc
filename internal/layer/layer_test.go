// Package layer holds no code: its test keeps imports pointing down.
package layer

import (
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/orderlog/orderlog/"

// rules: packages whose path begins with one of from (and none of except) must
// not depend, at any depth, on a package whose path begins with one of never.
var rules = []struct {
	name                string
	from, except, never []string
}{
	{
		name:   "rules, catalogue, types and effects are free of Kafka",
		from:   []string{"processors/", "internal/flow", "topics", "internal/sim", "internal/check", "internal/effect"},
		except: []string{"processors/graph"},
		never:  []string{"github.com/twmb/franz-go/pkg/kgo", "github.com/lovoo/goka", module + "kgoka"},
	},
	{
		name:  "kgoka knows nothing of orders",
		from:  []string{"kgoka"},
		never: []string{module + "internal", module + "processors", module + "schemas", module + "topics"},
	},
	{
		name:   "only the command line and main stand above app",
		from:   []string{"internal/", "processors", "schemas", "topics", "kgoka"},
		except: []string{"internal/app", "internal/cli", "internal/demo", "internal/bench", "internal/crash"},
		never:  []string{module + "internal/app", module + "internal/cli"},
	},
}

func TestImportsPointDown(t *testing.T) {
	for pkg, deps := range dependencies(t) {
		for _, r := range rules {
			if !within(pkg, r.from) || within(pkg, r.except) {
				continue
			}
			for _, d := range deps {
				if within(d, r.never) {
					t.Errorf("%s: %s depends on %s", r.name, pkg, d)
				}
			}
		}
	}
}

// dependencies maps each package of the module, without the module path, to all it imports at any depth.
func dependencies(t *testing.T) map[string][]string {
	t.Helper()
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Deps " "}}`, module+"...").CombinedOutput()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, out)
	}
	all := map[string][]string{}
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		all[strings.TrimPrefix(f[0], module)] = f[1:]
	}
	if len(all) < 5 {
		t.Fatalf("go list names only %d packages", len(all))
	}
	return all
}

// within says whether package s is one of those named or below one; a name that
// ends in a slash means only what is below.
func within(s string, trees []string) bool {
	for _, p := range trees {
		if s == p || strings.HasPrefix(s, strings.TrimSuffix(p, "/")+"/") {
			return true
		}
	}
	return false
}
