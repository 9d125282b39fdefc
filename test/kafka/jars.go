package kafka

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

//go:embed pom.xml
var pom []byte

// As in pom.xml. 4.3.0 and 4.3.1 drop the end of a transaction, a committed one too, when
// a restarted broker has none beside it to lead the partitions (KAFKA-20734).
const version = "4.2.0"

// ErrUnavailable says that no broker can be had here: Java or Maven are missing.
var ErrUnavailable = errors.New("no Apache Kafka here")

// runtime is where java and the jars are.
type runtime struct{ java, jars string }

// findRuntime fetches the jars with Maven if no one has before. They are kept in
// the user's cache folder.
var findRuntime = sync.OnceValues(func() (runtime, error) {
	java, err := exec.LookPath("java")
	if err != nil {
		return runtime{}, fmt.Errorf("%w: %w: install a Java runtime, 17 or later", ErrUnavailable, err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return runtime{}, err
	}
	jars := filepath.Join(cache, "orderlog", "kafka-"+version)
	if _, err := os.Stat(jars); err == nil {
		return runtime{java, jars}, nil
	}
	if err := fetchJars(jars); err != nil {
		return runtime{}, fmt.Errorf("fetching Apache Kafka %s: %w", version, err)
	}
	return runtime{java, jars}, nil
})

// fetchJars makes the folder whole or not at all, so that it may be called by
// several processes at once: one of them wins, and all have the same.
func fetchJars(dir string) error {
	mvn, err := exec.LookPath("mvn")
	if err != nil {
		return fmt.Errorf("%w: %w: install Maven", ErrUnavailable, err)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "fetching-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := os.WriteFile(filepath.Join(tmp, "pom.xml"), pom, 0o644); err != nil {
		return err
	}
	cmd := exec.Command(mvn, "-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory=lib")
	cmd.Dir = tmp
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("mvn: %w\n%s", err, out)
	}
	if err := os.Rename(filepath.Join(tmp, "lib"), dir); err != nil {
		if _, there := os.Stat(dir); there != nil {
			return err
		}
	}
	return nil
}
