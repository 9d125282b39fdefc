package hops

import (
	_ "embed"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

//go:embed pom.xml
var pom []byte

//go:embed TwoHops.java
var source []byte

// runStreams runs the same hops as one Kafka Streams application in a Java
// process, exactly_once_v2, state in RocksDB, commit interval 100 ms, which is
// its default there. Java and Maven must be at hand.
func runStreams(c *cluster, t names) func() {
	dir := c.dir(t)
	for name, content := range map[string][]byte{"pom.xml": pom, "TwoHops.java": source} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			c.b.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			c.b.Fatal(err)
		}
	}
	jars := filepath.Join(os.TempDir(), "orderlog-streams-jars")
	if err := command(dir, "mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory="+jars).Run(); err != nil {
		c.b.Fatal(err)
	}
	cmd := command(dir, "java", "-Xmx1g", "-cp", filepath.Join(jars, "*"), "TwoHops.java", strings.Join(c.brokers, ","), t.id, t.in, t.mid, t.out, filepath.Join(dir, "state"))
	in, err := cmd.StdinPipe()
	if err != nil {
		c.b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		c.b.Fatal(err)
	}
	return func() { // it ends with its input
		_, _ = io.WriteString(in, "\n")
		in.Close()
		if err := cmd.Wait(); err != nil {
			c.b.Error(err)
		}
	}
}

func command(dir, name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	return cmd
}
