"""The TCP states and the sysctls that people reach for: the text of `sockwatch explain` and of its pages in docs.

Facts are of Linux; where RFC 9293 and Linux differ, Linux is told.
"""
