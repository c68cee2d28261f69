import numpy as np
from hypothesis import given, strategies as st

from sockwatch.model.identity import NOT_THERE, find_cookies

COOKIES = st.lists(st.integers(1, 40).map(lambda n: n << 18 | n), unique=True, max_size=30)


@given(COOKIES, COOKIES)
def test_each_cookie_is_found_where_it_is_and_only_there(wanted: list[int], cookies: list[int]) -> None:
    found = find_cookies(np.array(wanted, np.uint64), np.array(cookies, np.uint64))
    assert found.tolist() == [cookies.index(cookie) if cookie in cookies else NOT_THERE for cookie in wanted]
