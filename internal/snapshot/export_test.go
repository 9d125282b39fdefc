package snapshot

// Between is a configuration whose second ends are not of one moment.
func (c Config) Between(f func()) Config {
	c.between = f
	return c
}
