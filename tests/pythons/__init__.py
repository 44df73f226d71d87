"""Every command once, on several Pythons."""
