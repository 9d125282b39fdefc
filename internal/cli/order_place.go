package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/orderlog/orderlog/schemas"
)

type placeFlags struct {
	id       string
	customer string
	currency string
	lines    []string
	file     string
	wait     time.Duration
}

func newOrderPlace(s *session) *cobra.Command {
	var f placeFlags
	cmd := &cobra.Command{
		Use:   "place",
		Short: "Place an order",
		Long: `Places an order from flags, or from JSON as it stands on order-commands. A line
is SKU:QUANTITY[:PRICE[:DISCOUNT]]: the price the customer was quoted, such as
12.50, and the discount in basis points (1500 is 15 %). A quote that is no longer
the list price is refused; without one the list price of the moment counts.
The same order sent twice is one order.`,
		Args: nothing(),
		Example: example("orderlog order place --customer cus_1 --line sku_1:2 --line sku_2:1:12.50:1500 --wait", "",
			`echo '{"order_id":"ord_7","customer_id":"cus_1","currency":"EUR","lines":[{"sku":"sku_1","quantity":2}]}' |`,
			"  orderlog order place -f -"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			body, err := f.body(s)
			if err != nil {
				return err
			}
			return s.place(cmd.Context(), body, f.wait)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&f.id, "id", "", "`ORDER` ID, ord_...; made up if there is none")
	fs.StringVar(&f.customer, "customer", "", "`CUSTOMER` ID, cus_...")
	fs.StringVar(&f.currency, "currency", "EUR", "ISO 4217 `CODE` of the prices")
	fs.StringArrayVar(&f.lines, "line", nil, "one `LINE`, SKU:QUANTITY[:PRICE[:DISCOUNT]]; repeated for more")
	fs.StringVarP(&f.file, "file", "f", "", "the order as JSON from a `FILE`, - for standard input")
	addWait(fs, &f.wait)
	return cmd
}

func (f *placeFlags) body(s *session) (*schemas.PlaceOrder, error) {
	if f.file != "" {
		if f.id != "" || f.customer != "" || len(f.lines) > 0 {
			return nil, usagef("--file says it all: no --id, --customer or --line beside it")
		}
		return s.readOrder(f.file)
	}
	if f.customer == "" || len(f.lines) == 0 {
		return nil, hinted(usagef("an order needs --customer and at least one --line, or --file"), "orderlog order place --help shows an example")
	}
	if err := checkID("cus_", f.customer); err != nil {
		return nil, err
	}
	body := &schemas.PlaceOrder{OrderID: f.id, CustomerID: f.customer, Currency: f.currency}
	for _, text := range f.lines {
		line, err := parseLine(text)
		if err != nil {
			return nil, err
		}
		body.Lines = append(body.Lines, line)
	}
	if f.id == "" {
		id, err := s.newID("ord")
		body.OrderID = id
		return body, err
	}
	return body, checkID("ord_", f.id)
}

func (s *session) readOrder(file string) (*schemas.PlaceOrder, error) {
	content, err := s.readFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the order: %w", err)
	}
	body, err := schemas.DecodeJSON(schemas.OrdersOrderPlace, content)
	if err != nil {
		return nil, hinted(fmt.Errorf("reading the order: %w", err), "orderlog order place --help shows an example; prices there are in cents")
	}
	return body.(*schemas.PlaceOrder), nil
}

// parseLine reads SKU:QUANTITY[:PRICE[:DISCOUNT]].
func parseLine(text string) (schemas.PlaceLine, error) {
	parts := strings.Split(text, ":")
	bad := func(why string, args ...any) (schemas.PlaceLine, error) {
		return schemas.PlaceLine{}, hinted(usagef("--line %q: %s", text, fmt.Sprintf(why, args...)), "e.g. sku_1:2 or sku_1:2:12.50:1500")
	}
	if len(parts) < 2 || len(parts) > 4 {
		return bad("want SKU:QUANTITY[:PRICE[:DISCOUNT]]")
	}
	line := schemas.PlaceLine{SKU: parts[0]}
	if err := checkID("sku_", line.SKU); err != nil {
		return schemas.PlaceLine{}, prefixed("--line", err)
	}
	var err error
	if line.Quantity, err = digits(parts[1]); err != nil {
		return bad("quantity %q: %v", parts[1], err)
	}
	if len(parts) > 2 {
		if line.UnitPrice, err = parseMoney(parts[2]); err != nil {
			return bad("price: %v", err)
		}
	}
	if len(parts) > 3 {
		if line.DiscountBP, err = digits(parts[3]); err != nil {
			return bad("discount %q: %v", parts[3], err)
		}
	}
	return line, nil
}

func newOrderDeliver(s *session) *cobra.Command {
	var wait time.Duration
	cmd := &cobra.Command{
		Use:     "deliver ORDER",
		Short:   "Say that an invoiced order has reached its customer",
		Args:    exactly("ORDER"),
		Example: example("orderlog order deliver ord_CA-2014-100006 --wait"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.change(cmd.Context(), args[0], schemas.OrdersOrderDeliver, &schemas.DeliverOrder{OrderID: args[0]}, schemas.Delivered, wait)
		},
	}
	addWait(cmd.Flags(), &wait)
	return cmd
}

func newOrderCancel(s *session) *cobra.Command {
	var wait time.Duration
	var reason string
	cmd := &cobra.Command{
		Use:     "cancel ORDER",
		Short:   "Undo an order that is not delivered yet",
		Args:    exactly("ORDER"),
		Example: example(`orderlog order cancel ord_CA-2014-100006 --reason "changed my mind" --wait=1m`),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.change(cmd.Context(), args[0], schemas.OrdersOrderCancel, &schemas.CancelOrder{OrderID: args[0], Reason: reason}, schemas.Cancelled, wait)
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the order's `TEXT`")
	addWait(cmd.Flags(), &wait)
	return cmd
}
