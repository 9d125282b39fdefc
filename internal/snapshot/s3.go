package snapshot

import "errors"

func openS3(string, func(string) string) (Store, error) { return nil, errors.New("s3: not yet") }
