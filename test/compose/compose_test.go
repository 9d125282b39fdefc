// Package compose holds no code: its tests have docker-compose.kafka.yml and
// deploy/Dockerfile checked without a container engine. What is in them and can be
// run without one is run, on Apache Kafka.
package compose

import (
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	composecli "github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/compose-spec/compose-go/v2/template"
	"github.com/compose-spec/compose-go/v2/types"

	"github.com/orderlog/orderlog/internal/cli"
)

const (
	root    = "../.."
	file    = "docker-compose.kafka.yml"
	example = ".env.example"
)

func options(t *testing.T, o ...composecli.ProjectOptionsFn) *composecli.ProjectOptions {
	t.Helper()
	opts, err := composecli.NewProjectOptions([]string{filepath.Join(root, file)}, append(o, composecli.WithWorkingDirectory(root), composecli.WithProfiles([]string{"*"}))...)
	if err != nil {
		t.Fatal(err)
	}
	return opts
}

// load has the file checked by the compose specification's own library.
func load(t *testing.T, o ...composecli.ProjectOptionsFn) *types.Project {
	t.Helper()
	p, err := options(t, o...).LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func withExample(o *composecli.ProjectOptions) error {
	vars, err := dotenv.Read(filepath.Join(root, example))
	maps.Copy(o.Environment, vars)
	return err
}

// .env.example names every variable of the file, with its default, and no other.
func TestExample(t *testing.T) {
	model, err := options(t, composecli.WithInterpolation(false), composecli.WithNormalization(false)).LoadModel(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	used := template.ExtractVariables(model, nil)
	named, err := dotenv.Read(filepath.Join(root, example))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := slices.Sorted(maps.Keys(named)), slices.Sorted(maps.Keys(used)); !slices.Equal(got, want) {
		t.Errorf("%s names %v, the file uses %v", example, got, want)
	}
	asExample, err := load(t, withExample).MarshalYAML()
	if err != nil {
		t.Fatal(err)
	}
	byItself, err := load(t).MarshalYAML()
	if err != nil {
		t.Fatal(err)
	}
	if string(asExample) != string(byItself) {
		t.Errorf("%s changes the file: its values are not the defaults\n%s\nby itself:\n%s", example, asExample, byItself)
	}
}

func services(t *testing.T) types.Services { return load(t, withExample).Services }

// ours says whether a service runs orderlog.
func ours(s types.ServiceConfig) bool { return s.Build != nil }

func environment(s types.ServiceConfig) map[string]string {
	vars := map[string]string{}
	for name, value := range s.Environment {
		if value != nil {
			vars[name] = *value
		}
	}
	return vars
}

// lasting says whether a service is there to stay.
func lasting(s types.ServiceConfig) bool { return s.Restart != "no" }

func TestServices(t *testing.T) {
	all := services(t)
	published := map[string]string{}
	for name, s := range all {
		pinned := regexp.MustCompile(`:v?\d+\.\d+\.\d+$`)
		if !ours(s) && !pinned.MatchString(s.Image) {
			t.Errorf("%s: image %s is not pinned", name, s.Image)
		}
		if s.Restart == "" {
			t.Errorf("%s has no restart policy", name)
		}
		if checked := s.HealthCheck != nil && !s.HealthCheck.Disable; checked != lasting(s) {
			t.Errorf("%s: lasting %v, health checked %v", name, lasting(s), checked)
		}
		for _, p := range s.Ports {
			if p.HostIP != "127.0.0.1" {
				t.Errorf("%s: port %s is open to others than this machine", name, p.Published)
			}
			if other, taken := published[p.Published]; taken {
				t.Errorf("%s and %s both publish port %s", name, other, p.Published)
			}
			published[p.Published] = name
		}
		for on, how := range s.DependsOn {
			want := types.ServiceConditionHealthy
			if !lasting(all[on]) {
				want = types.ServiceConditionCompletedSuccessfully
			}
			if how.Condition != want {
				t.Errorf("%s waits for %s to be %s, which says less than %s", name, on, how.Condition, want)
			}
		}
	}
}

// listening is every port that a service listens at by its own settings.
func listening(t *testing.T, s types.ServiceConfig) (ports []string) {
	t.Helper()
	env := environment(s)
	prometheus := ""
	for _, arg := range s.Command {
		if address, ok := strings.CutPrefix(arg, "--web.listen-address="); ok {
			prometheus = address
		}
	}
	for _, listeners := range []string{env["KAFKA_LISTENERS"], env["SCHEMA_REGISTRY_LISTENERS"], "http://" + env["ORDERLOG_HTTP"],
		"http://" + prometheus, "http://:" + env["GF_SERVER_HTTP_PORT"]} {
		for _, l := range strings.Split(listeners, ",") {
			if u, err := url.Parse(l); err == nil && u.Port() != "" {
				ports = append(ports, u.Port())
			}
		}
	}
	return ports
}

func TestPorts(t *testing.T) {
	asked := regexp.MustCompile(`127\.0\.0\.1[:/](\d+)`)
	for name, s := range services(t) {
		open := listening(t, s)
		for _, p := range s.Ports {
			if !slices.Contains(open, strconv.Itoa(int(p.Target))) {
				t.Errorf("%s: nothing listens at %d, only at %v", name, p.Target, open)
			}
		}
		if !lasting(s) || ours(s) { // orderlog health asks where ORDERLOG_HTTP says
			continue
		}
		found := asked.FindStringSubmatch(strings.Join(s.HealthCheck.Test, " "))
		if found == nil || !slices.Contains(open, found[1]) {
			t.Errorf("%s: its health check asks %v, it listens at %v", name, found, open)
		}
	}
}

// What each service of orderlog is told must be what the commands understand.
func TestCommands(t *testing.T) {
	instances := map[string]string{}
	for name, s := range services(t) {
		if !ours(s) {
			continue
		}
		if err := cli.Check(s.Command, environment(s)); err != nil {
			t.Errorf("%s: %v: %v", name, s.Command, err)
		}
		if !lasting(s) {
			continue
		}
		args := healthCommand(t, s)
		if args[0] != "/orderlog" {
			t.Fatalf("%s: the health check runs %s", name, args[0])
		}
		if err := cli.Check(args[1:], environment(s)); err != nil {
			t.Errorf("%s: health check %v: %v", name, args, err)
		}
		i := slices.Index(s.Command, "--instance")
		if i < 0 {
			t.Fatalf("%s has no --instance", name)
		}
		if other, taken := instances[s.Command[i+1]]; taken {
			t.Errorf("%s and %s are the same instance", name, other)
		}
		instances[s.Command[i+1]] = name
		if len(s.Volumes) != 1 || s.Volumes[0].Type != types.VolumeTypeVolume || s.Volumes[0].Target != environment(s)["ORDERLOG_DATA"] {
			t.Errorf("%s keeps its tables in %s, and mounts %v", name, environment(s)["ORDERLOG_DATA"], s.Volumes)
		}
	}
	if len(instances) != 3 {
		t.Errorf("there are the instances %v", instances)
	}
}

// healthCommand is what a health check runs, without a shell.
func healthCommand(t *testing.T, s types.ServiceConfig) []string {
	t.Helper()
	test := s.HealthCheck.Test
	if len(test) < 2 || test[0] != "CMD" {
		t.Fatalf("%s: health check %v: want CMD and a command", s.Name, test)
	}
	return test[1:]
}

// kafkas are the services that run Kafka, by name.
func kafkas(all types.Services) (nodes []types.ServiceConfig) {
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if _, is := all[name].Environment["KAFKA_NODE_ID"]; is {
			nodes = append(nodes, all[name])
		}
	}
	return nodes
}

// The nodes must find each other, and others them, under the names they have here.
func TestKafkaAddresses(t *testing.T) {
	all := services(t)
	var voters, inside []string
	for _, s := range kafkas(all) {
		env := environment(s)
		voters = append(voters, fmt.Sprintf("%s@%s:9093", env["KAFKA_NODE_ID"], s.Name))
		want := fmt.Sprintf("INTERNAL://%s:9092,HOST://127.0.0.1:%s", s.Name, s.Ports[0].Published)
		if got := env["KAFKA_ADVERTISED_LISTENERS"]; got != want {
			t.Errorf("%s advertises %s, want %s", s.Name, got, want)
		}
		inside = append(inside, s.Name+":9092")
		if len(s.Volumes) != 1 || s.Volumes[0].Type != types.VolumeTypeVolume || s.Volumes[0].Target != env["KAFKA_LOG_DIRS"] {
			t.Errorf("%s keeps its logs in %s, and mounts %v", s.Name, env["KAFKA_LOG_DIRS"], s.Volumes)
		}
	}
	if len(voters) != 3 {
		t.Fatalf("there are %d nodes", len(voters))
	}
	for _, s := range kafkas(all) {
		if got := environment(s)["KAFKA_CONTROLLER_QUORUM_VOTERS"]; got != strings.Join(voters, ",") {
			t.Errorf("%s knows the voters %s, want %s", s.Name, got, strings.Join(voters, ","))
		}
	}
	for name, s := range all {
		env := environment(s)
		if got, has := env["ORDERLOG_BROKERS"]; has && got != strings.Join(inside, ",") {
			t.Errorf("%s knows the brokers %s, want %s", name, got, strings.Join(inside, ","))
		}
		if got, has := env["SCHEMA_REGISTRY_KAFKASTORE_BOOTSTRAP_SERVERS"]; has && strings.ReplaceAll(got, "PLAINTEXT://", "") != strings.Join(inside, ",") {
			t.Errorf("%s knows the brokers %s, want %s", name, got, strings.Join(inside, ","))
		}
		if registry, has := env["ORDERLOG_REGISTRY"]; has {
			u, err := url.Parse(registry)
			if err != nil || !slices.Contains(listening(t, all[u.Hostname()]), u.Port()) {
				t.Errorf("%s: nothing listens at %s", name, registry)
			}
		}
	}
}

// A node that was killed lets the others give it up before it starts again.
func TestNodeWaits(t *testing.T) {
	for _, s := range kafkas(load(t).Services) {
		for _, c := range []struct {
			files string
			want  string
		}{
			{"", "run"},
			{"meta.properties", "sleep 15 run"},
			{"meta.properties .kafka_cleanshutdown", "run"},
		} {
			dir := t.TempDir()
			for _, f := range strings.Fields(c.files) {
				if err := os.WriteFile(filepath.Join(dir, f), nil, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			script := strings.ReplaceAll(s.Command[2], "exec /etc/kafka/docker/run", "echo run")
			cmd := exec.CommandContext(t.Context(), s.Command[0], s.Command[1], "sleep() { echo sleep $1; }; "+script)
			cmd.Env = append(os.Environ(), "KAFKA_LOG_DIRS="+dir)
			out, err := cmd.CombinedOutput()
			if got := strings.Join(strings.Fields(string(out)), " "); err != nil || got != c.want {
				t.Errorf("%s on a folder with %q: %q, %v, want %q", s.Name, c.files, got, err, c.want)
			}
		}
	}
}

// instruction is one of a Dockerfile's.
type instruction struct{ word, rest string }

func dockerfile(t *testing.T) (all []instruction) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "deploy/Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(strings.ReplaceAll(string(text), "\\\n", " ")) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if word != "" && !strings.HasPrefix(word, "#") {
			all = append(all, instruction{word, strings.TrimSpace(rest)})
		}
	}
	return all
}

// last is what the image has of an instruction; there must be one.
func last(t *testing.T, word string) string {
	t.Helper()
	for _, i := range slices.Backward(dockerfile(t)) {
		if i.word == word {
			return i.rest
		}
	}
	t.Fatalf("no %s in the Dockerfile", word)
	return ""
}

var quoted = regexp.MustCompile(`"([^"]*)"`)

// words reads the JSON form of a command, which needs no shell.
func words(t *testing.T, rest string) (w []string) {
	t.Helper()
	_, list, found := strings.Cut(rest, "[")
	if !found {
		t.Fatalf("%s needs a shell, and there is none", rest)
	}
	for _, m := range quoted.FindAllStringSubmatch(list, -1) {
		w = append(w, m[1])
	}
	return w
}

func TestDockerfile(t *testing.T) {
	stages := map[string]bool{"scratch": true}
	pinned := regexp.MustCompile(`:\d+\.\d+\.\d+(-\S+)?$`)
	var base string
	for _, i := range dockerfile(t) {
		switch i.word {
		case "FROM":
			var name string
			base, name, _ = strings.Cut(i.rest, " AS ")
			if !stages[base] && !pinned.MatchString(base) {
				t.Errorf("FROM %s is not pinned", base)
			}
			stages[name] = true
		case "COPY":
			for _, source := range regexp.MustCompile(`--from=(\S+)`).FindAllStringSubmatch(i.rest, -1) {
				if !stages[source[1]] {
					t.Errorf("COPY %s: no stage of that name", i.rest)
				}
			}
		}
	}
	if base != "scratch" {
		t.Errorf("the image is made of %s", base)
	}
	if user, _, _ := strings.Cut(last(t, "USER"), ":"); user == "0" || regexp.MustCompile(`^\d+$`).FindString(user) == "" {
		t.Errorf("USER %s: want a number, which is not root's", user)
	}
	vars := map[string]string{}
	for _, pair := range strings.Fields(last(t, "ENV")) {
		name, value, _ := strings.Cut(pair, "=")
		vars[name] = value
	}
	if dir := last(t, "VOLUME"); dir != vars["ORDERLOG_DATA"] {
		t.Errorf("VOLUME %s, and tables go to %s", dir, vars["ORDERLOG_DATA"])
	}
	if _, port, err := net.SplitHostPort(vars["ORDERLOG_HTTP"]); err != nil || port != last(t, "EXPOSE") {
		t.Errorf("EXPOSE %s, and it listens at %s", last(t, "EXPOSE"), vars["ORDERLOG_HTTP"])
	}
	if entry := words(t, last(t, "ENTRYPOINT")); !slices.Equal(entry, []string{"/orderlog"}) {
		t.Errorf("ENTRYPOINT %v", entry)
	}
	for _, args := range [][]string{words(t, last(t, "CMD")), words(t, last(t, "HEALTHCHECK"))[1:]} {
		if err := cli.Check(args, vars); err != nil {
			t.Errorf("%v: %v", args, err)
		}
	}
}

// The Dockerfile's Go is not older than what the module asks for.
func TestDockerfileGo(t *testing.T) {
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	wants := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(string(mod))
	for _, i := range dockerfile(t) {
		if version, is := strings.CutPrefix(i.rest, "golang:"); i.word == "FROM" && is && !strings.HasPrefix(version, wants[1]+".") {
			t.Errorf("FROM golang:%s, and go.mod says %s", version, wants[1])
		}
	}
}
