// SPDX-License-Identifier: GPL-2.0

/* The header of net/mac802154 itself: what a livepatch changes is seldom public. */
#include <../net/mac802154/ieee802154_i.h>

struct ieee802154_local *rust_helper_wpan_radio_of_hw(struct ieee802154_hw *hw)
{
	return hw_to_local(hw);
}

struct ieee802154_local *rust_helper_wpan_radio_of_interface(struct ieee802154_sub_if_data *sdata)
{
	return sdata->local;
}

u64 rust_helper_wpan_address(const struct ieee802154_pan_device *coord)
{
	return le64_to_cpu(coord->extended_addr);
}

bool rust_helper_wpan_is_associating(struct ieee802154_local *local)
{
	return mac802154_is_associating(local);
}

bool rust_helper_wpan_has_lock(void)
{
	return __is_defined(WPAN_HAS_LOCK);
}

/* What a frame says that answers a request to join. */
struct wpan_answer {
	u64 from;
	__le16 short_addr;
	u8 status;
};

/* Reads a frame that came to @sdata: -EINVAL if it is no answer, -ENODEV if it is one for somebody else. */
int rust_helper_wpan_read_answer(struct ieee802154_sub_if_data *sdata, struct sk_buff *skb, struct wpan_answer *answer)
{
	const struct ieee802154_assoc_resp_pl *said = (void *)skb->data;
	const struct ieee802154_mac_cb *cb = mac_cb(skb);

	if (skb->len != sizeof(*said) || cb->source.mode != IEEE802154_EXTENDED_ADDRESSING ||
	    cb->dest.mode != IEEE802154_EXTENDED_ADDRESSING)
		return -EINVAL;
	if (cb->dest.extended_addr != sdata->wpan_dev.extended_addr)
		return -ENODEV;
	answer->from = le64_to_cpu(cb->source.extended_addr);
	answer->short_addr = said->short_addr;
	answer->status = said->status;
	return 0;
}

/* Gives an answer to who waits for it, and lets no other one come through. */
void rust_helper_wpan_accept(struct ieee802154_local *local, const struct wpan_answer *answer)
{
	local->assoc_addr = answer->short_addr;
	local->assoc_status = answer->status;
	clear_bit(IEEE802154_IS_ASSOCIATING, &local->ongoing);
	complete(&local->assoc_done);
}
