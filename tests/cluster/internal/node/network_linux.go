package node

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// connect makes the cluster's network: the pods' bridge and the wire to the
// machine. The machine gets one address and one route at its end of the wire.
func connect(machine *os.File) error {
	outside, err := netlink.NewHandleAt(netns.NsHandle(machine.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("cannot enter the machine's network: %w", err)
	}
	defer outside.Close()
	if err := checkFree(outside); err != nil {
		return err
	}
	inside, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer inside.Close()

	added := netlink.NewVeth(netlink.LinkAttrs{Name: wire})
	added.PeerName, added.PeerNamespace = machineWire, netlink.NsFd(int(machine.Fd()))
	if err := inside.LinkAdd(added); err != nil {
		return fmt.Errorf("cannot make the wire to the machine: %w", err)
	}
	if err := inside.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridge}}); err != nil {
		return fmt.Errorf("cannot make the bridge: %w", err)
	}
	for _, each := range []struct {
		on      *netlink.Handle
		link    string
		address string
		bits    int
	}{
		{inside, "lo", "127.0.0.1", 8},
		{inside, bridge, Address, podBits},
		{inside, wire, wireEnd, wireBits},
		{outside, machineWire, HostAddress, wireBits},
	} {
		if err := setUp(each.on, each.link, each.address, each.bits); err != nil {
			return fmt.Errorf("cannot set up the link %s: %w", each.link, err)
		}
	}
	if err := outside.RouteAdd(&netlink.Route{Dst: parse(network), Gw: net.ParseIP(wireEnd)}); err != nil {
		return fmt.Errorf("cannot add the route to the cluster: %w", err)
	}
	// The node needs a route to cluster IPs, or a packet never reaches kube-proxy's
	// rules. There is no default route, because no packet leaves the cluster.
	toPods, err := inside.LinkByName(bridge)
	if err != nil {
		return err
	}
	if err := inside.RouteAdd(&netlink.Route{Dst: parse(Services), LinkIndex: toPods.Attrs().Index}); err != nil {
		return fmt.Errorf("cannot add the route to Services: %w", err)
	}
	// This setting belongs to the cluster's network namespace.
	return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0)
}

func setUp(on *netlink.Handle, name, address string, bits int) error {
	link, err := on.LinkByName(name)
	if err != nil {
		return err
	}
	wanted := &net.IPNet{IP: net.ParseIP(address), Mask: net.CIDRMask(bits, 32)}
	if err := on.AddrAdd(link, &netlink.Addr{IPNet: wanted}); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	return on.LinkSetUp(link)
}

func parse(constant string) *net.IPNet {
	_, parsed, err := net.ParseCIDR(constant)
	if err != nil {
		panic(err) // cannot fail: the text is a constant
	}
	return parsed
}

// checkFree refuses a machine that already uses the cluster's addresses.
func checkFree(machine *netlink.Handle) error {
	routes, err := machine.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("cannot list the machine's routes: %w", err)
	}
	for _, each := range routes {
		if each.Dst != nil && overlaps(each.Dst) {
			return fmt.Errorf("this machine has a route to %s: a cluster with a node needs %s", each.Dst, network)
		}
	}
	return nil
}

// overlaps is whether a route is to the cluster's addresses. Wider routes, such
// as the default route, do not count: they hardly lead to these addresses.
func overlaps(route *net.IPNet) bool {
	other, err := netip.ParsePrefix(route.String())
	ours := netip.MustParsePrefix(network)
	return err == nil && other.Bits() >= ours.Bits() && ours.Overlaps(other)
}
