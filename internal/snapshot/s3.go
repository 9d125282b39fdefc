package snapshot

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// minio-go is made for whatever is S3-compatible, and for nothing else: an endpoint is a
// setting of it like any other, and it has no configuration files and no way to look for
// credentials that we would have to explain.

// s3 is a store in a bucket.
type s3 struct {
	cl             *minio.Client
	bucket, prefix string // the prefix ends in "/" or is empty
}

const defaultEndpoint = "https://s3.amazonaws.com"

// openS3 opens BUCKET/PREFIX, with what the environment says by the names that AWS's
// tools have: AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL, AWS_REGION or AWS_DEFAULT_REGION,
// AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN. Nothing is asked yet.
func openS3(where string, env func(string) string) (Store, error) {
	bucket, prefix, _ := strings.Cut(where, "/")
	if bucket == "" {
		return nil, fmt.Errorf("store %q: want s3://BUCKET/PREFIX", "s3://"+where)
	}
	if prefix = strings.Trim(prefix, "/"); prefix != "" {
		prefix += "/"
	}
	at := cmp.Or(env("AWS_ENDPOINT_URL_S3"), env("AWS_ENDPOINT_URL"), defaultEndpoint)
	u, err := url.Parse(at)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("S3 endpoint %q: want a URL, in AWS_ENDPOINT_URL", at)
	}
	if env("AWS_ACCESS_KEY_ID") == "" || env("AWS_SECRET_ACCESS_KEY") == "" {
		return nil, fmt.Errorf("store %q: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are to be set", "s3://"+where)
	}
	cl, err := minio.New(u.Host, &minio.Options{Secure: u.Scheme == "https", Region: cmp.Or(env("AWS_REGION"), env("AWS_DEFAULT_REGION")),
		Creds: credentials.NewStaticV4(env("AWS_ACCESS_KEY_ID"), env("AWS_SECRET_ACCESS_KEY"), env("AWS_SESSION_TOKEN"))})
	if err != nil {
		return nil, fmt.Errorf("S3 client for %s: %w", at, err)
	}
	return &s3{cl, bucket, prefix}, nil
}

func (s *s3) String() string { return "s3://" + s.bucket + "/" + s.prefix }

func (s *s3) explain(err error) error {
	switch minio.ToErrorResponse(err).Code {
	case "":
		return err
	case minio.NoSuchKey:
		return ErrNone
	}
	return fmt.Errorf("%s: %w", s, err)
}

func (s *s3) Put(ctx context.Context, name string, data []byte) error {
	_, err := s.cl.PutObject(ctx, s.bucket, s.prefix+name, bytes.NewReader(data), int64(len(data)), minio.PutObjectOptions{ContentType: "application/octet-stream"})
	return s.explain(err)
}

func (s *s3) Get(ctx context.Context, name string) ([]byte, error) {
	o, err := s.cl.GetObject(ctx, s.bucket, s.prefix+name, minio.GetObjectOptions{})
	if err != nil {
		return nil, s.explain(err)
	}
	defer o.Close()
	data, err := io.ReadAll(o)
	return data, s.explain(err)
}

func (s *s3) List(ctx context.Context) (ids []string, err error) {
	for o := range s.cl.ListObjectsIter(ctx, s.bucket, minio.ListObjectsOptions{Prefix: s.prefix}) {
		if o.Err != nil {
			return nil, s.explain(o.Err)
		}
		if id, folder := strings.CutSuffix(strings.TrimPrefix(o.Key, s.prefix), "/"); folder {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

func (s *s3) Delete(ctx context.Context, id string) error {
	names := []string{s.prefix + id + "/" + manifestName}
	for o := range s.cl.ListObjectsIter(ctx, s.bucket, minio.ListObjectsOptions{Prefix: s.prefix + id + "/", Recursive: true}) {
		if o.Err != nil {
			return s.explain(o.Err)
		}
		if o.Key != names[0] {
			names = append(names, o.Key)
		}
	}
	for _, n := range names {
		if err := s.cl.RemoveObject(ctx, s.bucket, n, minio.RemoveObjectOptions{}); err != nil {
			return s.explain(err)
		}
	}
	return nil
}
